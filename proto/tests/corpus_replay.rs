//! Replays the committed corpus of every fuzz target as a plain test.

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "public in the fuzz crate, which shares the file")]
#[path = "../../fuzz/src/checks.rs"]
mod checks;

#[test]
fn address() {
    replay("address", checks::address);
}

#[test]
fn control_json() {
    replay("control_json", checks::control_json);
}

#[test]
fn http_head() {
    replay("http_head", checks::http_head);
}

#[test]
fn preamble() {
    replay("preamble", checks::preamble);
}

#[test]
fn sas() {
    replay("sas", checks::sas);
}

#[test]
fn ws_reader() {
    replay("ws_reader", checks::ws_reader);
}

/// Each file, and each file cut short and with one byte changed, so that the edges around the corpus are covered too.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("folder of the corpus") {
        let input = fs::read(entry.expect("entry of the corpus").path()).expect("file of the corpus");
        check(&input);
        for at in 0..input.len().min(EDGES) {
            check(&input[..at]);
            let mut changed = input.clone();
            changed[at] ^= 0x81;
            check(&changed);
        }
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

const EDGES: usize = 512;
