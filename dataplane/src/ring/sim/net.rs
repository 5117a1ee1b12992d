//! The handle to a simulated network: time, partitions, deaths, accounting.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use viaduct_proto::time::Now;

use super::client::{SimListener, SimSocket};
use super::faults::SimConfig;
use super::world::World;

/// A network of hosts in virtual time; clones share it. Time stands still but in [`SimNet::advance_to_next`].
///
/// A host is an IP address with its descriptors, and lives and dies like a process: several rings may share it.
#[derive(Clone)]
pub struct SimNet(Rc<RefCell<World>>);

/// What happened in a network so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimCounters {
    /// Connections reset on the way by the fault plan.
    pub resets: u64,
    /// `ENOBUFS` answers that the fault plan made up.
    pub enobufs: u64,
    /// `EMFILE` answers that the fault plan made up.
    pub emfile: u64,
    /// Cancels that came too late: the operation gave its own result.
    pub late_cancels: u64,
    /// Descriptors closed while an operation was in flight on them: the far side sees no end of stream until its cancel
    /// has worked.
    pub closes_in_flight: u64,
}

impl SimNet {
    /// An empty network.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        Self(Rc::new(RefCell::new(World::new(config))))
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.world().now
    }

    /// When something happens next: a packet arrives, a ring's operation or its `wait` deadline falls due, a waker was
    /// used. `None`: only a call from outside can change anything.
    #[must_use]
    pub fn next_event(&self) -> Option<Now> {
        self.world().next_due()
    }

    /// Moves to the next event if it is not after `limit`, and lets everything at that instant happen; rings then want
    /// their turn. Otherwise moves to `limit` (unless that is `Now(u64::MAX)`) and answers false.
    pub fn advance_to_next(&self, limit: Now) -> bool {
        self.world().advance(limit)
    }

    /// Whether a ring of this host has something to do at this instant: without that its turn changes nothing.
    #[must_use]
    pub fn is_due(&self, host: IpAddr) -> bool {
        self.world().is_due(host)
    }

    /// Partitions two hosts: packets between them wait for [`SimNet::release`], and connections across fail with
    /// `ETIMEDOUT` when it lasts longer than the configured silence. Other attempts to connect time out as usual.
    pub fn hold(&self, a: IpAddr, b: IpAddr) {
        self.world().hold(a, b);
    }

    /// Ends a partition; what waited arrives at once, in order.
    pub fn release(&self, a: IpAddr, b: IpAddr) {
        self.world().release(a, b);
    }

    /// Ends all processes of a host: its connections close or reset, its listeners and descriptors are gone, its rings'
    /// operations never complete. The address can be used by new rings at once. (For a power cut, [`SimNet::hold`] its
    /// links first.)
    pub fn kill_host(&self, host: IpAddr) {
        self.world().kill_host(host);
    }

    /// Open descriptors of a host.
    #[must_use]
    pub fn open_fds(&self, host: IpAddr) -> usize {
        self.world().open_fds(host)
    }

    /// Sockets the network still knows, those included that are closed but whose last packets are on the way.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.world().sockets.len()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> SimCounters {
        self.world().counters
    }

    /// Hash of everything that happened: packets with their contents, completions, their times and order. Two runs of
    /// one program with one seed have the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.world().fingerprint()
    }

    /// A scripted client on [`CLIENT_HOST`] that connects to `addr`.
    #[must_use]
    pub fn connect(&self, addr: SocketAddr) -> SimSocket {
        self.connect_from(CLIENT_HOST, addr)
    }

    /// A scripted client on a host of choice that connects to `addr`.
    #[must_use]
    pub fn connect_from(&self, host: IpAddr, addr: SocketAddr) -> SimSocket {
        SimSocket::connect(self.clone(), host, addr)
    }

    /// A scripted server.
    ///
    /// # Errors
    /// `EADDRINUSE` when something listens there.
    pub fn listen(&self, addr: SocketAddr) -> std::io::Result<SimListener> {
        SimListener::bind(self.clone(), addr)
    }

    pub(super) fn world(&self) -> RefMut<'_, World> {
        self.0.borrow_mut()
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("SimNet")
            .field("now", &world.now)
            .field("sockets", &world.sockets.len())
            .finish_non_exhaustive()
    }
}

/// The host that [`SimNet::connect`] connects from.
pub const CLIENT_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
