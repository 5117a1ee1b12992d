//! What the tests share: processes, tunnels, targets, waiting, and what is read from /proc.

pub(crate) mod frames;
pub(crate) mod helper;
pub(crate) mod pattern;
pub(crate) mod process;
pub(crate) mod sas;
pub(crate) mod target;
pub(crate) mod tls;
pub(crate) mod tunnel;
pub(crate) mod wait;

use std::env;

/// The ring under test: what `--engine` gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    IoUring,
    Epoll,
}

impl Engine {
    pub(crate) const fn flag(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// How the three processes talk to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

/// One combination to test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) engine: Engine,
    pub(crate) transport: Transport,
}

impl Engine {
    pub(crate) const fn over(self, transport: Transport) -> Mode {
        Mode {
            engine: self,
            transport,
        }
    }
}

/// Sizes of the tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Size of the file that is copied both ways, bytes.
    pub(crate) file: u64,
    /// HTTP requests per run of curl.
    pub(crate) requests: usize,
    /// Connections per direction in the closing tests.
    pub(crate) closings: u64,
    /// Streams open at once.
    pub(crate) streams: usize,
    /// Idle connections held.
    pub(crate) idle: usize,
    /// Commands in a database session.
    pub(crate) queries: usize,
    /// Exchanges in a shell session.
    pub(crate) shell_rounds: usize,
}

impl Scale {
    /// The scale that `VIADUCT_TEST_SCALE` names; panics on an unknown name.
    pub(crate) fn from_env() -> Self {
        match env::var("VIADUCT_TEST_SCALE").as_deref() {
            Err(_) | Ok("quick") => QUICK,
            Ok("full") => FULL,
            Ok(other) => panic!("VIADUCT_TEST_SCALE={other}: use quick or full"),
        }
    }
}

const QUICK: Scale = Scale {
    file: 64 << 20,
    requests: 1_000,
    closings: 300,
    streams: 200,
    idle: 300,
    queries: 500,
    shell_rounds: 100,
};

const FULL: Scale = Scale {
    file: 1 << 30,
    requests: 10_000,
    closings: 10_000,
    streams: 2_000,
    idle: 5_000,
    queries: 5_000,
    shell_rounds: 1_000,
};

/// Runs `test` on `engine`, or says why not.
pub(crate) fn run(engine: Engine, test: fn(Engine)) {
    let named = env::var("VIADUCT_TEST_ENGINES").ok();
    let chosen = named
        .as_deref()
        .is_none_or(|list| list.split(',').any(|name| name.trim() == engine.flag()));
    if !chosen {
        println!("skipped: VIADUCT_TEST_ENGINES does not name {}", engine.flag());
        return;
    }
    if engine == Engine::IoUring
        && named.is_none()
        && let Err(error) = io_uring::IoUring::new(8)
    {
        println!("skipped: this kernel gives no io_uring ring: {error}");
        return;
    }
    process::raise_open_files();
    test(engine);
}

/// Declares each named `fn(Engine)` of the calling module as one test per engine.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod io_uring {
            $(#[test] fn $name() { crate::harness::run(crate::harness::Engine::IoUring, super::$name); })+
        }
        mod epoll {
            $(#[test] fn $name() { crate::harness::run(crate::harness::Engine::Epoll, super::$name); })+
        }
    };
}
pub(crate) use on_each_engine;
