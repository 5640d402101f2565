//! Ports that a test's processes can bind again after a restart.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use uuid::Uuid;

/// Returns a port that is reserved for the test until its process ends: no other test gets it, and the system does not
/// assign it to a client, because it lies outside the ephemeral range.
pub(crate) fn reserve() -> SocketAddr {
    const LOWEST_PORT: u16 = 10_000;
    const PORT_COUNT: u16 = 15_000;
    // A listener on another loopback address is the reservation.
    const RESERVATIONS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    for _ in 0..1000 {
        let port = LOWEST_PORT + Uuid::new_v4().as_fields().1 % PORT_COUNT;
        let Ok(reservation) = TcpListener::bind((RESERVATIONS, port)) else { continue };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            std::mem::forget(reservation);
            return address;
        }
    }
    panic!("no port from {LOWEST_PORT} on is free, or {RESERVATIONS} is no loopback address");
}
