//! What the connections of all listeners share: places, room for messages under way, and buffers to read into.
//! And patience, for when descriptors run out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;

use crate::telemetry;

/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;
/// Buffers that are kept for the next read. A connection has one only while it works.
const SPARE_BUFFERS: usize = 64;

/// What all listeners together may hold.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Connections at a time; more are answered 421. Default 1,000.
    pub max_connections: usize,
    /// The same for the clients of one network, a /24 of IPv4 or a /64 of IPv6. Default 100.
    pub max_connections_per_network: usize,
    /// Bytes of all messages under way together; the message that would pass it is answered 452, and comes
    /// again. Default 128 MiB.
    pub max_bytes_in_flight: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_connections_per_network: 100,
            max_bytes_in_flight: 128 * 1024 * 1024,
        }
    }
}

/// What is held of a [`Capacity`].
#[derive(Debug)]
pub struct Bounds {
    capacity: Capacity,
    connections: AtomicUsize,
    networks: Mutex<HashMap<IpNet, usize>>,
    bytes: AtomicUsize,
    spare: Mutex<Vec<Box<[u8]>>>,
}

impl Bounds {
    #[must_use]
    pub fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            connections: AtomicUsize::new(0),
            networks: Mutex::default(),
            bytes: AtomicUsize::new(0),
            spare: Mutex::default(),
        })
    }

    /// A place for one connection; none if all are taken.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let place = Place { bounds: Arc::clone(self), network: None };
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        (before < self.capacity.max_connections).then_some(place)
    }

    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { bounds: Arc::clone(self), held: 0 }
    }

    pub(super) fn buffer(self: &Arc<Self>) -> Buffer {
        let spare = lock(&self.spare).pop();
        let bytes = spare.unwrap_or_else(|| vec![0; READ_SIZE].into_boxed_slice());
        Buffer { bytes, filled: 0, bounds: Arc::clone(self) }
    }
}

/// One connection's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    bounds: Arc<Bounds>,
    network: Option<IpNet>,
}

impl Place {
    /// Counts the connection for its client's network. False if that has as many as it may.
    pub(super) fn of_client(&mut self, client: IpAddr) -> bool {
        let network = network(client);
        let mut networks = lock(&self.bounds.networks);
        let count = networks.entry(network).or_default();
        if *count >= self.bounds.capacity.max_connections_per_network {
            return false;
        }
        *count += 1;
        self.network = Some(network);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bounds.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(network) = self.network else { return };
        if let Entry::Occupied(mut count) = lock(&self.bounds.networks).entry(network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Those who are likely the same: an IPv6 customer has a /64 at least, an IPv4 one rarely more than a /24.
fn network(client: IpAddr) -> IpNet {
    let length = if client.is_ipv4() { 24 } else { 64 };
    IpNet::new(client, length).unwrap_or_else(|_| client.into()).trunc()
}

/// One connection's part of the bytes of messages under way; given back when the connection ends.
#[derive(Debug)]
pub(super) struct Share {
    bounds: Arc<Bounds>,
    held: usize,
}

impl Share {
    /// Holds `bytes` from now on. False if all connections together then hold more than they may.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        if bytes == self.held {
            return true;
        }
        let grows = bytes > self.held;
        // The additions and subtractions of one share cancel out, so the total never wraps.
        let before = self.bounds.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bounds.bytes.fetch_sub(self.held, Ordering::Relaxed);
        let after = (before + bytes).saturating_sub(self.held);
        telemetry::smtp_bytes_in_flight(self.held, bytes);
        self.held = bytes;
        !grows || after <= self.bounds.capacity.max_bytes_in_flight
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// Bytes that were read; the buffer is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
    bounds: Arc<Bounds>,
}

impl Buffer {
    /// Room to read into.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn fill(&mut self, count: usize) {
        self.filled = count;
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = lock(&self.bounds.spare);
        if spare.len() < SPARE_BUFFERS {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// What these locks guard is changed in single steps, so a panic leaves it sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long to leave `accept` alone after it failed. Without descriptors it fails at once, again and again; a
/// loop that tries on burns a core and fills the log, and frees no descriptor.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(super) fn after(&mut self, error: &io::Error) -> Duration {
        let the_client_gave_up = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        );
        if the_client_gave_up {
            return Duration::ZERO;
        }
        self.last = (self.last * 2).clamp(Self::FIRST, Self::LONGEST);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_accept_is_tried_less_and_less_often_down_to_once_a_second() {
        let no_descriptors = io::Error::other("too many open files");
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.after(&no_descriptors).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn a_client_that_gave_up_costs_no_pause() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after(&io::ErrorKind::ConnectionAborted.into()), Duration::ZERO);
    }

    #[test]
    fn shares_add_up_and_are_given_back() {
        let bounds = Bounds::new(Capacity { max_bytes_in_flight: 100, ..Capacity::default() });
        let (mut first, mut second) = (bounds.share(), bounds.share());
        assert!(first.hold(60));
        assert!(!second.hold(60), "120 of 100 were allowed");
        assert!(second.hold(0));
        drop(first);
        assert!(second.hold(100));
        drop(second);
        assert_eq!(bounds.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn places_are_counted_in_all_and_given_back() {
        let bounds = Bounds::new(Capacity { max_connections: 2, ..Capacity::default() });
        let (first, _second) = (bounds.place().unwrap(), bounds.place().unwrap());
        assert!(bounds.place().is_none() && bounds.place().is_none());
        drop(first);
        assert!(bounds.place().is_some());
    }

    #[test]
    fn places_are_counted_for_each_network_and_given_back() {
        let bounds = Bounds::new(Capacity { max_connections_per_network: 1, ..Capacity::default() });
        let enter = |client: &str| {
            let mut place = bounds.place().unwrap();
            place.of_client(client.parse().unwrap()).then_some(place)
        };
        let (four, six) = (enter("192.0.2.1"), enter("2001:db8::1"));
        assert!(four.is_some() && six.is_some());
        for full in ["192.0.2.1", "192.0.2.255", "2001:db8::ffff:0:0:1"] {
            assert!(enter(full).is_none(), "{full}");
        }
        for another in ["192.0.3.1", "2001:db8:0:1::1"] {
            assert!(enter(another).is_some(), "{another}");
        }
        drop((four, six));
        assert!(enter("192.0.2.2").is_some());
        assert!(lock(&bounds.networks).is_empty(), "networks without connections are remembered");
    }

    #[test]
    fn a_buffer_is_used_again() {
        let bounds = Bounds::new(Capacity::default());
        let address = |buffer: &Buffer| buffer.bytes.as_ptr();
        let mut first = bounds.buffer();
        first.fill(3);
        assert_eq!(first.filled().len(), 3);
        let (second, at) = (bounds.buffer(), address(&first));
        assert_ne!(address(&second), at);
        drop(first);
        let again = bounds.buffer();
        assert_eq!((address(&again), again.filled().len()), (at, 0));
    }
}
