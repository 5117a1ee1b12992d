//! One suite for every ring: the same cases, the same expectations.
//!
//! Both ends of each connection are sockets of the ring under test, so a case needs nothing but the ring's
//! own interface. A further kind of ring joins with one constructor of [`Rig`] and one line in [`suite`].

mod cancel;
mod connect;
mod random;
mod rig;
mod transfer;
mod virtual_rig;

use self::rig::Rig;
use super::{Completion, Ring};
use crate::buf::{Chunk, Gather, Lease, Pool};

/// Makes a test of each case for each kind of ring.
macro_rules! suite {
    ($($module:ident :: $case:ident),* $(,)?) => {
        suite!(@ring uring, Rig::uring, $($module::$case),*);
        suite!(@ring epoll, Rig::epoll, $($module::$case),*);
        suite!(@ring sim, Rig::sim, $($module::$case),*);
        suite!(@ring jittery_sim, Rig::jittery_sim, $($module::$case),*);
    };
    (@ring $ring:ident, $open:path, $($module:ident :: $case:ident),*) => {
        mod $ring {
            use super::*;
            $(
                #[test]
                fn $case() {
                    let mut rig = $open();
                    $module::$case(&mut rig);
                    rig.ends_clean();
                }
            )*
        }
    };
}

suite! {
    connect::each_connection_is_accepted_once,
    connect::a_refused_connection_says_so,
    connect::a_closed_listener_hands_out_nothing,
    connect::a_socket_can_be_bound_before_it_connects,
    connect::a_wake_from_another_thread_ends_the_wait,
    connect::a_wait_ends_at_its_deadline_and_not_before,
    connect::misuse_is_answered_and_harms_nothing,
    connect::a_moved_socket_works_in_its_new_ring,
    connect::two_rings_share_a_port,
    transfer::a_provided_receive_waits_without_a_buffer,
    transfer::a_lease_is_appended_to,
    transfer::the_end_of_the_stream_is_zero_bytes,
    transfer::half_a_connection_can_be_closed,
    transfer::a_reset_reaches_the_peer,
    transfer::a_close_is_a_reset_where_asked_for,
    transfer::a_reset_after_the_end_of_the_stream_is_seen_by_poll,
    transfer::chains_of_any_length_arrive_in_order,
    transfer::a_short_send_is_resumed_by_its_owner,
    transfer::a_poll_reports_data_and_hang_up_and_takes_neither,
    transfer::an_empty_pool_is_reported_and_recovers,
    cancel::an_idle_operation_of_each_kind_can_be_cancelled,
    cancel::a_cancel_that_races_with_data_loses_none,
    cancel::closing_ends_every_operation,
    cancel::a_stale_key_cancels_nothing,
    cancel::a_recycled_number_gets_no_old_completion,
    cancel::many_operations_come_and_go,
    cancel::teardown_takes_everything_back,
    random::streams_stay_whole_under_random_operations,
}

/// Does not compile for a type that is `Send` or `Sync`: the call would be ambiguous.
macro_rules! stays_on_its_thread {
    ($($type:ty),*) => {$(const _: () = {
        trait Ambiguous<Marker> {
            fn check() {}
        }
        struct IsSend;
        struct IsSync;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + Send> Ambiguous<IsSend> for T {}
        impl<T: ?Sized + Sync> Ambiguous<IsSync> for T {}
        let _ = <$type as Ambiguous<_>>::check;
    };)*};
}
stays_on_its_thread!(Pool, Lease, Chunk, Gather, Ring, Completion);
