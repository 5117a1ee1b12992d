//! A log file that is renamed when its day is over (azbridge.md 5): today's lines are always in the named
//! file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An open log file.
#[derive(Debug)]
pub(super) struct DailyFile {
    path: PathBuf,
    file: File,
    /// Day of the lines in the file, counted from 1970-01-01 UTC.
    day: u64,
}

impl DailyFile {
    /// Opens `path` for appending; a file with lines of an earlier day is put aside first.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let today = day_of(SystemTime::now());
        if let Ok(data) = path.metadata()
            && data.len() > 0
        {
            let day = day_of(data.modified()?);
            if day < today {
                fs::rename(path, aside(path, day))?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file: append(path)?,
            day: today,
        })
    }

    fn write_on(&mut self, today: u64, line: &[u8]) -> io::Result<()> {
        if self.day < today {
            // A file that cannot be put aside is still good to write to; it is tried once a day.
            let renamed = fs::rename(&self.path, aside(&self.path, self.day));
            self.day = today;
            if renamed.is_ok() {
                self.file = append(&self.path)?;
            }
        }
        self.file.write_all(line)
    }
}

impl Write for DailyFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_on(day_of(SystemTime::now()), line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn day_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / (24 * 60 * 60))
}

/// `{name}-{yyyyMMdd}{ext}` beside `path`.
fn aside(path: &Path, day: u64) -> PathBuf {
    let (year, month, day) = civil(day);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ext = path
        .extension()
        .map(|ext| format!(".{}", ext.to_string_lossy()))
        .unwrap_or_default();
    path.with_file_name(format!("{stem}-{year:04}{month:02}{day:02}{ext}"))
}

/// Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that a leap day is their
/// last.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_EPOCH;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year_of_era + carry, month, day)
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: u64 = 719_468;
/// 400 years.
const DAYS_PER_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_folder::test_folder;

    #[test]
    fn dates_are_gregorian() {
        let cases = [
            (0, (1970, 1, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_453, (2025, 12, 31)),
        ];
        for (days, date) in cases {
            assert_eq!(civil(days), date, "{days}");
        }
    }

    #[test]
    fn a_day_change_puts_the_file_aside() {
        let folder = test_folder("log-file");
        let path = folder.path().join("bridge.log");
        let mut file = DailyFile::open(&path).unwrap();
        let today = file.day;
        file.write_on(today, b"one\n").unwrap();
        file.write_on(today + 1, b"two\n").unwrap();
        file.write_on(today + 1, b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
        assert_eq!(fs::read_to_string(aside(&path, today)).unwrap(), "one\n");
        assert_eq!(
            aside(Path::new("/x/bridge.log"), 0),
            Path::new("/x/bridge-19700101.log")
        );
    }

    #[test]
    fn a_file_of_an_earlier_day_is_put_aside_at_start() {
        let folder = test_folder("log-old");
        let path = folder.path().join("bridge");
        fs::write(&path, "old\n").unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(UNIX_EPOCH)
            .unwrap();
        drop(DailyFile::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        assert_eq!(
            fs::read_to_string(folder.path().join("bridge-19700101")).unwrap(),
            "old\n"
        );
    }
}
