//! The PROXY protocol, version 2: a proxy in front of us says for whom it speaks, before anything else is said.
//!
//! Version 1 is refused: a line of text that SMTP clients could be made to send. What the header says beyond the
//! client's address (TLVs) is passed over. Nothing behind the header is read here: it belongs to TLS or SMTP.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// A proxy sends the header together with its connection; who takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Signature, version and command, family, and length.
const FIXED: usize = 16;
/// Where the length stands, in network byte order: octets behind the fixed part.
const LENGTH: std::ops::Range<usize> = 14..16;
/// More than any proxy has to say.
const LONGEST: usize = 4096;

/// For whom the proxy speaks; none if for itself (a health check), or for somebody without an IP address.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    timeout(PATIENCE, read_header(stream)).await?
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; FIXED];
    stream.read_exact(&mut header).await?;
    let rest = rest_of(&header)?;
    stream.take(rest as u64).read_to_end(&mut header).await?;
    client(&header)
}

/// How much follows the fixed part. The signature is looked at first: the rest is a length only behind it.
fn rest_of(fixed: &[u8]) -> io::Result<usize> {
    if !fixed.starts_with(ppp::v2::PROTOCOL_PREFIX) {
        return Err(not_a_header("it does not begin with the signature of version 2"));
    }
    let length = fixed.get(LENGTH).unwrap_or_default();
    let length = length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
    if length > LONGEST {
        return Err(not_a_header("it is too long"));
    }
    Ok(length)
}

fn client(header: &[u8]) -> io::Result<Option<IpAddr>> {
    let header = Header::try_from(header).map_err(|error| not_a_header(&error.to_string()))?;
    Ok(match (header.command, header.addresses) {
        (Command::Local, _) | (_, Addresses::Unspecified | Addresses::Unix(_)) => None,
        (Command::Proxy, Addresses::IPv4(ip)) => Some(ip.source_address.into()),
        (Command::Proxy, Addresses::IPv6(ip)) => Some(IpAddr::from(ip.source_address).to_canonical()),
    })
}

fn not_a_header(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a PROXY header: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const V4: [u8; 12] = [192, 0, 2, 1, 127, 0, 0, 1, 0, 9, 0, 25];

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    /// What is read of these bytes, and what is left for those who come after.
    fn read_all(bytes: &[u8]) -> (io::Result<Option<IpAddr>>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut left = bytes;
        let found = runtime.block_on(read(&mut left));
        (found, left.len())
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<&str>) {
        let (found, left) = read_all(&[bytes, b"EHLO"].concat());
        assert_eq!(found.unwrap(), expected.map(|ip| ip.parse().unwrap()));
        assert_eq!(left, 4, "what follows the header was read with it");
    }

    #[test]
    fn a_proxy_names_its_client() {
        check(&header(0x21, 0x11, &V4), Some("192.0.2.1"));
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        check(&header(0x21, 0x21, &v6), Some("2001:db8::"));
        v6[..16].copy_from_slice(&std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets());
        check(&header(0x21, 0x21, &v6), Some("192.0.2.1"));
    }

    #[test]
    fn what_follows_the_addresses_is_passed_over() {
        let tlv = [&V4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        check(&header(0x21, 0x11, &tlv), Some("192.0.2.1"));
        let longest = [&V4[..], &[0; LONGEST - 12]].concat();
        check(&header(0x21, 0x11, &longest), Some("192.0.2.1"));
    }

    #[test]
    fn who_speaks_for_nobody_with_an_address_keeps_his_own() {
        check(&header(0x20, 0x00, &[]), None);
        check(&header(0x20, 0x11, &V4), None);
        check(&header(0x21, 0x00, &[]), None);
        check(&header(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn anything_else_is_refused() {
        let too_long = [SIGNATURE, &[0x21, 0x11, 0x10, 0x01]].concat();
        for bytes in [
            b"PROXY TCP4 192.0.2.1 127.0.0.1 9 25\r\n".as_slice(),
            b"EHLO client.example\r\n",
            &header(0x31, 0x11, &V4),
            &header(0x22, 0x11, &V4),
            &header(0x21, 0x41, &V4),
            &header(0x21, 0x11, &V4[..11]),
            &too_long,
        ] {
            let error = read_all(bytes).0.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[test]
    fn a_header_cut_off_anywhere_is_none() {
        let whole = header(0x21, 0x11, &V4);
        for length in 0..whole.len() {
            assert!(read_all(&whole[..length]).0.is_err(), "{length} octets");
        }
    }
}
