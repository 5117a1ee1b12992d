//! An ssh server behind the tunnel: a long interactive session, and scp.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::process::{self, Folder, Process};
use crate::harness::tunnel::Tunnel;
use crate::harness::{Engine, Scale, Transport, on_each_engine, pattern, wait};

on_each_engine!(ssh_session);

fn ssh_session(engine: Engine) {
    if !process::have(&["sshd", "ssh", "ssh-keygen", "scp", "cmp"]) {
        return;
    }
    let folder = Folder::new();
    let (_server, address) = start_sshd(&folder);
    let tunnel = Tunnel::open(engine.over(Transport::Tls), &[("ssh", address)]);
    converse(&folder, tunnel.entry("ssh"));
    copy_both_ways(&folder, tunnel.entry("ssh"));
}

/// An sshd of our own: own host key, one authorized key, a loopback port.
fn start_sshd(folder: &Folder) -> (Process, SocketAddr) {
    for key in ["host", "user"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.file(key));
        process::output(&mut keygen, LIMIT);
    }
    // sshd refuses to start without its privilege separation folder; without the right to make it, it must be there.
    let _ = fs::create_dir_all("/run/sshd");
    let address = wait::free_address();
    let at = folder.path().display();
    let config = format!(
        "Port {}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\nStrictModes no\n\
         PidFile none\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\n\
         Subsystem sftp internal-sftp\n",
        address.port()
    );
    fs::write(folder.file("sshd_config"), config).expect("configuration of sshd");
    let sshd = process::find("sshd").expect("checked by the caller");
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f"]).arg(folder.file("sshd_config"));
    let server = Process::start("sshd", command, folder.path());
    wait::wait_until("sshd listens", wait::PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
    (server, address)
}

/// A terminal session in which every line waits for the answer to the one before.
fn converse(folder: &Folder, entry: SocketAddr) {
    let mut command = Command::new("timeout");
    command.args([
        LIMIT.as_secs().to_string().as_str(),
        "ssh",
        "-tt",
        "-p",
        &entry.port().to_string(),
    ]);
    command
        .args(options(folder))
        .arg(login())
        .arg("stty -echo; exec /bin/sh");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut ssh = command.spawn().expect("ssh");
    let mut input = ssh.stdin.take().expect("piped input");
    let mut output = BufReader::new(ssh.stdout.take().expect("piped output")).lines();
    for round in 0..Scale::from_env().shell_rounds {
        writeln!(input, "echo answer $(({round} * 3))").expect("line to the shell");
        let want = format!("answer {}", round * 3);
        let answered = output
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.trim_end().ends_with(&want));
        assert!(answered, "the session ended before it said {want:?}");
    }
    writeln!(input, "exit 7").expect("last line to the shell");
    let status = ssh.wait().expect("end of ssh");
    assert_eq!(status.code(), Some(7), "the exit status of the remote shell");
}

fn copy_both_ways(folder: &Folder, entry: SocketAddr) {
    let (original, stored, back) = (
        folder.file("original"),
        folder.file("stored"),
        folder.file("back"),
    );
    let mut file = BufWriter::new(File::create(&original).expect("file to send"));
    pattern::write(&mut file, 3, COPY).expect("content of the file to send");
    drop(file);
    let remote = |path: &PathBuf| format!("{}:{}", login(), path.display());
    let scp = |from: String, to: String| {
        let mut command = Command::new("scp");
        command
            .args(["-q", "-P", &entry.port().to_string()])
            .args(options(folder))
            .args([from, to]);
        process::output(&mut command, LIMIT);
    };
    scp(original.display().to_string(), remote(&stored));
    scp(remote(&stored), back.display().to_string());
    process::output(Command::new("cmp").arg(&original).arg(&back), LIMIT);
}

fn options(folder: &Folder) -> Vec<String> {
    let key = folder.file("user").display().to_string();
    let settings = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "BatchMode=yes",
    ];
    let settings = settings
        .iter()
        .flat_map(|setting| ["-o".to_owned(), (*setting).to_owned()]);
    ["-F".to_owned(), "none".to_owned(), "-i".to_owned(), key]
        .into_iter()
        .chain(settings)
        .collect()
}

fn login() -> String {
    let user = env::var("USER")
        .or_else(|_| env::var("LOGNAME"))
        .unwrap_or_else(|_| "root".to_owned());
    format!("{user}@127.0.0.1")
}

const COPY: u64 = 16 << 20;
const LIMIT: Duration = Duration::from_secs(120);
