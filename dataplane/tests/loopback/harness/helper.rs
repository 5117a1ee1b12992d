//! This test binary as a program of its own: a target that can be killed like any other process.

use std::env;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use super::process::{Folder, Process};
use super::target::echo;
use super::wait::{PATIENCE, free_address, wait_until};

/// An echo service in a child process.
#[derive(Debug)]
pub(crate) struct EchoProcess {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    folder: Folder,
}

impl EchoProcess {
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let address = free_address();
        let process = launch(&folder, address);
        Self {
            process,
            address,
            folder,
        }
    }

    pub(crate) fn restart(&mut self) {
        self.process = launch(&self.folder, self.address);
    }
}

fn launch(folder: &Folder, address: SocketAddr) -> Process {
    let mut command = Command::new(env::current_exe().expect("path of this test binary"));
    command.args([
        "--ignored",
        "--exact",
        "harness::helper::serve_echo",
        "--nocapture",
    ]);
    command.env(ADDRESS, address.to_string());
    let process = Process::start("target", command, folder.path());
    wait_until("the target process listens", PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
    process
}

/// Not a test: the body of the child process.
#[test]
#[ignore = "runs as a child process of other tests"]
fn serve_echo() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let listener = TcpListener::bind(&address).expect("loopback listener");
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        thread::spawn(move || echo(stream));
    }
}

const ADDRESS: &str = "VIADUCT_HELPER_ADDRESS";
