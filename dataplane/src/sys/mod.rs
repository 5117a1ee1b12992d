//! Thin, checked wrappers of system calls. No policy lives here.
//!
//! * [`socket`]: creating sockets and their options
//! * [`errno`]: what an error means to a caller
//! * [`clock`]: the monotonic clock
//! * `event`: eventfd; `map`: memory mappings; `sockaddr`: addresses in the kernel's layout
//! * [`affinity`], [`limits`]: thread pinning and resource limits
#![expect(unsafe_code, reason = "system calls through libc")]

pub mod affinity;
pub mod clock;
pub mod errno;
pub(crate) mod event;
pub mod limits;
pub(crate) mod map;
pub(crate) mod sockaddr;
pub mod socket;
