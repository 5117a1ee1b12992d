//! Choosing a ring by trying it: a version number says too little about seccomp profiles, sysctls and
//! back-ports.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::epoll::EpollRing;
use super::op::{Completion, Fd, Op, Outcome, RecvInto, Token};
use super::uring::{SetupError, UringRing};
use super::{Ring, RingConfig, RingCounters};
use crate::buf::{Chunk, Gather};
use crate::config::EngineChoice;

/// Which ring was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

/// What was chosen and why.
#[derive(Debug, Clone)]
pub struct EngineReport {
    engine: Engine,
    line: String,
}

impl EngineReport {
    /// The ring that was opened.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// One line for the operator: what was chosen, and why not io_uring if it was not.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }
}

/// See [`Ring::open`].
pub(super) fn open(choice: EngineChoice, config: &RingConfig) -> io::Result<(Ring, EngineReport)> {
    let reason = match choice {
        EngineChoice::Epoll => "asked for".to_owned(),
        EngineChoice::Auto | EngineChoice::IoUring => match open_uring(config) {
            Ok(ring) => {
                let line = format!(
                    "engine io_uring: tested over loopback; up to {} buffers of {} bytes lent to the kernel",
                    ring.lent_max(),
                    config.small.data_len()
                );
                let report = EngineReport {
                    engine: Engine::IoUring,
                    line,
                };
                return Ok((Ring::Uring(ring), report));
            }
            Err(failed) if choice == EngineChoice::IoUring => {
                return Err(io::Error::new(failed.error.kind(), Unusable(failed)));
            }
            Err(failed) => Unusable(failed).to_string(),
        },
    };
    let ring = Ring::Epoll(Box::new(EpollRing::open(config)?));
    Ok((
        ring,
        EngineReport {
            engine: Engine::Epoll,
            line: format!("engine epoll: {reason}"),
        },
    ))
}

fn open_uring(config: &RingConfig) -> Result<Box<UringRing>, SetupError> {
    let mut ring = Ring::Uring(Box::new(UringRing::open(config)?));
    self_test(&mut ring).map_err(SetupError::at("the loopback test"))?;
    let Ring::Uring(mut tested) = ring else {
        unreachable!("the ring that was made above")
    };
    tested.set_counters(RingCounters::default());
    Ok(tested)
}

/// Accepts, receives into a provided buffer, and sends, over a loopback connection; then cancels and closes.
fn self_test(ring: &mut Ring) -> io::Result<()> {
    let any_port = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ];
    let (listener, addr) = ring
        .listen(any_port[0], false)
        .or_else(|_| ring.listen(any_port[1], false))?;
    let result = converse(ring, listener, addr);
    ring.close(listener);
    result?;
    let mut rest = Vec::new();
    let until = ring.now().after(TEST_TIME);
    while ring.in_flight() > 0 && ring.now() < until {
        ring.wait(Some(until), &mut rest)?;
    }
    if ring.in_flight() > 0 {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(())
    }
}

fn converse(ring: &mut Ring, listener: Fd, addr: SocketAddr) -> io::Result<()> {
    let token = Token::new(0, 0, 0);
    ring.submit(Op::Accept { fd: listener }, token);
    let mut client = TcpStream::connect_timeout(&addr, TEST_TIME)?;
    client.set_read_timeout(Some(TEST_TIME))?;
    let Outcome::Accepted(accepted) = next(ring)? else {
        return Err(unexpected());
    };
    let (fd, _) = accepted?;
    client.write_all(PING)?;
    ring.submit(
        Op::Recv {
            fd,
            into: RecvInto::Provided,
        },
        token,
    );
    let Outcome::Received {
        result,
        lease: Some(lease),
    } = next(ring)?
    else {
        return Err(unexpected());
    };
    result?;
    if lease.data() != PING {
        return Err(unexpected());
    }
    let mut gather = Gather::new();
    gather.push(Chunk::from_static(PONG));
    ring.submit(Op::Send { fd, gather }, token);
    let Outcome::Sent { result, .. } = next(ring)? else {
        return Err(unexpected());
    };
    result?;
    let mut answer = [0; PONG.len()];
    client.read_exact(&mut answer)?;
    ring.close(fd);
    if answer == *PONG {
        Ok(())
    } else {
        Err(unexpected())
    }
}

fn next(ring: &mut Ring) -> io::Result<Outcome> {
    let mut out: Vec<Completion> = Vec::new();
    ring.wait(Some(ring.now().after(TEST_TIME)), &mut out)?;
    out.pop()
        .map(|completion| completion.outcome)
        .ok_or_else(|| io::ErrorKind::TimedOut.into())
}

fn unexpected() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Why io_uring is not used, with what an operator can do about it.
#[derive(Debug)]
struct Unusable(SetupError);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SetupError { step, error } = &self.0;
        let hint = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => "; a seccomp profile or kernel.io_uring_disabled forbids it",
            Some(libc::ENOSYS) => "; this kernel has no io_uring",
            Some(libc::EINVAL) => "; it needs Linux 6.1 or later",
            Some(libc::ENOMEM) => "; raise the limit of locked memory (RLIMIT_MEMLOCK)",
            _ => "",
        };
        write!(f, "io_uring is not usable here: {step} failed: {error}{hint}")
    }
}

impl std::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.error)
    }
}

const PING: &[u8; 4] = b"ping";
const PONG: &[u8; 4] = b"pong";
/// Most time that one step of the test may take; it takes microseconds.
const TEST_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::{Pool, PoolConfig};

    fn config() -> RingConfig {
        RingConfig::new(
            Pool::new(PoolConfig {
                data_len: 4096,
                count: 8,
            })
            .unwrap(),
        )
    }

    #[test]
    fn auto_opens_something_and_says_what() {
        let (ring, report) = Ring::open(EngineChoice::Auto, &config()).unwrap();
        assert!(report.line().starts_with("engine "), "{}", report.line());
        assert_eq!(matches!(ring, Ring::Uring(_)), report.engine() == Engine::IoUring);
        assert_eq!((ring.open_fds(), ring.counters()), (0, RingCounters::default()));
    }

    #[test]
    fn epoll_passes_the_same_test() {
        let (mut ring, report) = Ring::open(EngineChoice::Epoll, &config()).unwrap();
        assert_eq!(
            (report.engine(), report.line()),
            (Engine::Epoll, "engine epoll: asked for")
        );
        self_test(&mut ring).unwrap();
    }

    #[test]
    fn a_seccomp_profile_that_forbids_io_uring_leads_to_epoll() {
        // The filter holds for this thread only, which ends with the test.
        std::thread::spawn(|| {
            forbid_io_uring();
            assert!(Ring::open(EngineChoice::IoUring, &config()).is_err());
            let (mut ring, report) = Ring::open(EngineChoice::Auto, &config()).unwrap();
            assert_eq!(report.engine(), Engine::Epoll);
            assert!(report.line().contains("seccomp"), "{}", report.line());
            self_test(&mut ring).unwrap();
        })
        .join()
        .unwrap();
    }

    /// Makes `io_uring_setup` fail with `EPERM`, as container runtimes do.
    fn forbid_io_uring() {
        const LOAD_NUMBER: u16 = 0x20;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut program = [
            instruction(LOAD_NUMBER, 0, 0, 0),
            instruction(
                JUMP_IF_EQUAL,
                0,
                1,
                u32::try_from(libc::SYS_io_uring_setup).unwrap(),
            ),
            instruction(
                RETURN,
                0,
                0,
                libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(),
            ),
            instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog {
            len: 4,
            filter: program.as_mut_ptr(),
        };
        // JUSTIFICATION: the only way to meet such a profile in a test.
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        // JUSTIFICATION: as above.
        // SAFETY: `filter` and the four instructions it points to outlive the call.
        let rc = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
        assert_eq!(rc, 0);
    }

    #[test]
    fn the_reason_names_the_step_and_the_remedy() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let text = Unusable(SetupError {
            step: "creating the ring",
            error,
        })
        .to_string();
        assert!(
            text.contains("creating the ring") && text.contains("seccomp"),
            "{text}"
        );
    }
}
