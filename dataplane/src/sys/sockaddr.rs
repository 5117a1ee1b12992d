//! Socket addresses in the kernel's layout.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An IPv4 or IPv6 address in a buffer that the kernel reads or writes.
pub(crate) struct SockAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl SockAddr {
    /// Encodes an address.
    pub(crate) fn new(addr: &SocketAddr) -> Self {
        let mut this = Self::empty();
        match addr {
            SocketAddr::V4(v4) => this.write(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => this.write(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            }),
        }
        this
    }

    /// Runs a call that fills a buffer with an address, such as `getsockname`, and decodes the result.
    ///
    /// # Errors
    /// That of the call; `EAFNOSUPPORT` if the address is neither IPv4 nor IPv6.
    pub(crate) fn fill(
        call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
    ) -> io::Result<SocketAddr> {
        let mut this = Self::empty();
        this.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        if call((&raw mut this.storage).cast(), &raw mut this.len) < 0 {
            return Err(io::Error::last_os_error());
        }
        this.decode()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    }

    /// The address for the kernel; valid while `self` is neither moved nor dropped.
    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// Its length, bytes.
    pub(crate) fn len(&self) -> libc::socklen_t {
        self.len
    }

    fn empty() -> Self {
        // JUSTIFICATION: libc gives no constructor.
        // SAFETY: sockaddr_storage is plain integers, for which all-zero is a value.
        let storage = unsafe { std::mem::zeroed() };
        Self { storage, len: 0 }
    }

    fn write<T>(&mut self, addr: T) {
        const {
            assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>());
            assert!(align_of::<T>() <= align_of::<libc::sockaddr_storage>());
        }
        // JUSTIFICATION: the kernel's address types are views of one storage.
        // SAFETY: the storage is large enough and aligned for the type, both asserted above.
        unsafe { (&raw mut self.storage).cast::<T>().write(addr) };
        self.len = size_of::<T>() as libc::socklen_t;
    }

    fn decode(&self) -> Option<SocketAddr> {
        let len = self.len as usize;
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
                // JUSTIFICATION: as in `write`.
                // SAFETY: the family and the length say that a sockaddr_in was written.
                let v4 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
                // JUSTIFICATION: as in `write`.
                // SAFETY: the family and the length say that a sockaddr_in6 was written.
                let v6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

impl std::fmt::Debug for SockAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SockAddr").field(&self.decode()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::SockAddr;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:1", "255.1.2.3:65535", "[::1]:443", "[fe80::1%3]:80"] {
            let addr = text.parse().unwrap();
            assert_eq!(SockAddr::new(&addr).decode(), Some(addr), "{text}");
        }
    }
}
