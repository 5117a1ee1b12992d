//! What the fuzz targets check, apart from libFuzzer so that the committed corpus is replayed by a plain test too.

pub mod checks;
