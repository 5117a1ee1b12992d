//! Pinning threads to processors.

use std::io;

/// Pins the calling thread to processor `cpu` (0-based).
///
/// # Errors
/// `EINVAL` if the processor does not exist or is not in the process's set.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= MAX_CPUS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // JUSTIFICATION: std cannot set affinity.
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // JUSTIFICATION: libc offers the macro as an unsafe function.
    // SAFETY: `cpu` is below the set's size, checked above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // JUSTIFICATION: std cannot set affinity.
    // SAFETY: `set` is initialised and its true size is given; pid 0 is the calling thread.
    let rc = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Processors that the calling thread may run on, ascending.
///
/// # Errors
/// What `sched_getaffinity` says.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // JUSTIFICATION: `available_parallelism` gives a number, pinning needs the names.
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // JUSTIFICATION: as above.
    // SAFETY: `set` is writable and its true size is given.
    let rc = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((0..MAX_CPUS)
        .filter(|&cpu| {
            // JUSTIFICATION: libc offers the macro as an unsafe function.
            // SAFETY: `cpu` is below the set's size.
            unsafe { libc::CPU_ISSET(cpu, &set) }
        })
        .collect())
}

const MAX_CPUS: usize = libc::CPU_SETSIZE as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_an_allowed_processor() {
        let last = *allowed_cpus().unwrap().last().unwrap();
        std::thread::spawn(move || {
            pin_current_thread(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
        })
        .join()
        .unwrap();
        assert!(pin_current_thread(MAX_CPUS).is_err());
    }
}
