//! One large file up and down with curl, compared byte by byte.

use std::fs::File;
use std::io::BufWriter;
use std::process::Command;
use std::time::Duration;

use crate::harness::process::{self, Folder};
use crate::harness::tunnel::Tunnel;
use crate::harness::{Engine, Scale, Transport, on_each_engine, pattern};
use crate::web;

on_each_engine!(file_both_ways_plain, file_both_ways_tls);

fn file_both_ways_plain(engine: Engine) {
    copy_both_ways(engine, Transport::Plain);
}

fn file_both_ways_tls(engine: Engine) {
    copy_both_ways(engine, Transport::Tls);
}

fn copy_both_ways(engine: Engine, transport: Transport) {
    if !process::have(&["curl", "cmp"]) {
        return;
    }
    let here = Folder::new();
    let there = Folder::new();
    let original = here.file("original");
    let mut file = BufWriter::new(File::create(&original).expect("file to send"));
    pattern::write(&mut file, SEED, Scale::from_env().file).expect("content of the file to send");
    drop(file);

    let server = web::file_server(there.path());
    let tunnel = Tunnel::open(engine.over(transport), &[("files", server.address())]);
    let url = format!("http://{}/stored", tunnel.entry("files"));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--header", "Expect:"]);
    let mut upload = Command::new("curl");
    upload
        .args(curl.get_args())
        .arg("--upload-file")
        .arg(&original)
        .arg(&url);
    process::output(&mut upload, LIMIT);
    process::output(
        Command::new("cmp").arg(&original).arg(there.file("stored")),
        LIMIT,
    );

    let back = here.file("back");
    curl.arg("--output").arg(&back).arg(&url);
    process::output(&mut curl, LIMIT);
    process::output(Command::new("cmp").arg(&original).arg(&back), LIMIT);
}

const SEED: u64 = 2;
const LIMIT: Duration = Duration::from_secs(240);
