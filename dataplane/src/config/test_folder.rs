//! Folders for tests, in the system's place for temporary files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

/// A folder that goes away with its handle.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A new, empty folder.
pub(crate) fn test_folder(name: &str) -> TestFolder {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("viaduct-{}-{number}-{name}", process::id()));
    fs::create_dir_all(&path).unwrap();
    TestFolder(path)
}
