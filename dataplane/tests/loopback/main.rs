//! The real binary over the real kernel: a relay and two bridges on loopback, carrying real programs.
//!
//! Every test runs once per ring engine (modules `io_uring` and `epoll`). Settings, all from the environment:
//! * `VIADUCT_TEST_SCALE`: `quick` (default) or `full`, see [`harness::Scale`].
//! * `VIADUCT_TEST_ENGINES`: comma list of engines to run, default both. Without kernel support the io_uring half is
//!   skipped with a line that says so, unless the list names it.
//! * `VIADUCT_REQUIRE_PROGRAMS=1`: a missing curl, redis-server or sshd fails the test instead of skipping it.

mod closing;
mod crash;
mod database;
mod files;
mod harness;
mod hostile_frames;
mod hostile_heads;
mod logical_ports;
mod many;
mod refusal;
mod shell;
mod slow_reader;
mod web;
