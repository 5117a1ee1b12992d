//! An HTTP server behind the tunnel, fetched by curl.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::harness::process::{self, Folder};
use crate::harness::target::Target;
use crate::harness::tunnel::Tunnel;
use crate::harness::{Engine, Scale, Transport, on_each_engine, pattern, wait};

on_each_engine!(
    curl_keep_alive_plain,
    curl_keep_alive_tls,
    curl_connection_per_request_plain
);

fn curl_keep_alive_plain(engine: Engine) {
    fetch(engine, Transport::Plain, &[]);
}

fn curl_keep_alive_tls(engine: Engine) {
    fetch(engine, Transport::Tls, &[]);
}

fn curl_connection_per_request_plain(engine: Engine) {
    fetch(engine, Transport::Plain, &["-H", "Connection: close"]);
}

/// Fetches pages 1..=requests with 64 transfers at once and compares each file.
fn fetch(engine: Engine, transport: Transport, options: &[&str]) {
    if !process::have(&["curl"]) {
        return;
    }
    let requests = Scale::from_env().requests;
    let server = server();
    let tunnel = Tunnel::open(engine.over(transport), &[("web", server.address())]);
    let pages = Folder::new();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "120"]);
    curl.args([
        "--parallel",
        "--parallel-max",
        "64",
        "--write-out",
        "%{http_code}\\n",
    ])
    .args(options);
    curl.arg("--output").arg(pages.file("#1"));
    curl.arg(format!("http://{}/[1-{requests}]", tunnel.entry("web")));
    let statuses = process::output(&mut curl, wait::PATIENCE * 8);
    assert_eq!(statuses.lines().filter(|line| *line == "200").count(), requests);
    for page in 1..=requests as u64 {
        let got = fs::read(pages.file(&page.to_string())).expect("fetched page");
        assert!(got == body(page), "page {page} differs");
    }
}

/// Serves page `N` at `/N`.
pub(crate) fn server() -> Target {
    Target::start(|stream| serve(stream, None))
}

/// As [`server`], with `PUT` and `GET` of files in `folder`.
pub(crate) fn file_server(folder: &Path) -> Target {
    let folder = folder.to_owned();
    Target::start(move |stream| serve(stream, Some(&folder)))
}

fn serve(stream: TcpStream, folder: Option<&Path>) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read_request(&mut input)? {
        match folder {
            None => {
                let page = request.path.trim_start_matches('/').parse().unwrap_or(0);
                let body = body(page);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                output.write_all(&[head.as_bytes(), &body].concat())?;
            }
            Some(folder) => transfer(&request, &mut input, &mut output, folder)?,
        }
        if request.close {
            return Ok(());
        }
    }
    Ok(())
}

fn transfer(
    request: &Request,
    input: &mut BufReader<TcpStream>,
    output: &mut TcpStream,
    folder: &Path,
) -> io::Result<()> {
    let file = folder.join(request.path.trim_start_matches('/'));
    if request.method == "PUT" {
        let stored = io::copy(&mut input.take(request.length), &mut File::create(&file)?)?;
        assert_eq!(stored, request.length, "the upload is short");
        return output.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    }
    let mut source = File::open(&file)?;
    let length = source.metadata()?.len();
    output.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    io::copy(&mut source, output).map(drop)
}

struct Request {
    method: String,
    path: String,
    length: u64,
    close: bool,
}

/// The next request head, or `None` when the client has ended the connection.
fn read_request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no request line"));
    };
    let mut request = Request {
        method,
        path,
        length: 0,
        close: false,
    };
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            return Ok(Some(request));
        }
        if let Some(length) = header.strip_prefix("content-length:") {
            request.length = length
                .trim()
                .parse()
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        }
        request.close |= header == "connection: close";
    }
}

/// Pages of many sizes, some of one byte, some over several frames.
fn body(page: u64) -> Vec<u8> {
    let sizes = [1, 100, 1_000, 4_096, 16_000, 40_000];
    pattern::bytes(page, sizes[page as usize % sizes.len()])
}
