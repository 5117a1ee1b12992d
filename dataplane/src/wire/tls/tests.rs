//! Two connections back to back, with the bytes between them cut anywhere.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;
use crate::config::tls::{ClientTls, provider, server};

struct Pair {
    client: Tls,
    server: Tls,
    rng: fastrand::Rng,
}

fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (
        cert.der().clone(),
        PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
    )
}

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (cert, key) = certificate();
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    (
        ClientTls::trusting(roots).unwrap().config,
        server(vec![cert], key).unwrap(),
    )
}

impl Pair {
    fn new(seed: u64, client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            client: Tls::client(client, name).unwrap(),
            server: Tls::server(server).unwrap(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Carries handshake bytes to and fro until nothing more comes.
    fn shake_hands(&mut self) -> Result<(), TlsError> {
        let mut to_server = Vec::new();
        self.client.start(&mut to_server)?;
        for _ in 0..10 {
            let mut to_client = Vec::new();
            deliver(&mut self.server, &mut to_server, &mut to_client, &mut self.rng)?;
            deliver(&mut self.client, &mut to_client, &mut to_server, &mut self.rng)?;
            if to_server.is_empty() {
                break;
            }
        }
        assert!(
            self.client.may_send() && self.server.may_send(),
            "the handshake is not complete"
        );
        Ok(())
    }
}

/// Feeds `bytes` in pieces of random length; returns what was decrypted.
fn deliver(
    to: &mut Tls,
    bytes: &mut Vec<u8>,
    out: &mut Vec<u8>,
    rng: &mut fastrand::Rng,
) -> Result<Vec<u8>, TlsError> {
    let mut plain = Vec::new();
    let mut rest = bytes.as_mut_slice();
    while !rest.is_empty() {
        let longest = if rng.bool() { 40 } else { 40_000 };
        let (piece, later) = rest.split_at_mut(rng.usize(1..=rest.len().min(longest)));
        to.receive(piece, &mut |part| plain.extend_from_slice(part), out)?;
        rest = later;
    }
    bytes.clear();
    Ok(plain)
}

fn seal(from: &mut Tls, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sealed_len(data.len())];
    let n = from.encrypt(data, &mut out).unwrap();
    out.truncate(n);
    out
}

#[test]
fn data_passes_both_ways_however_the_bytes_are_cut() {
    let (client, server) = configs();
    for seed in 0..60 {
        let mut pair = Pair::new(seed, Arc::clone(&client), Arc::clone(&server));
        pair.shake_hands().unwrap();
        for len in [0, 1, 5, 1_000, FRAGMENT_MAX, FRAGMENT_MAX + 1, 100_000] {
            let data: Vec<u8> = (0..len).map(|_| pair.rng.u8(..)).collect();
            let mut up = seal(&mut pair.client, &data);
            let mut down = seal(&mut pair.server, &data);
            let mut none = Vec::new();
            assert_eq!(
                deliver(&mut pair.server, &mut up, &mut none, &mut pair.rng).unwrap(),
                data,
                "seed {seed}"
            );
            assert_eq!(
                deliver(&mut pair.client, &mut down, &mut none, &mut pair.rng).unwrap(),
                data,
                "seed {seed}"
            );
        }
        assert!(
            pair.client.residue.is_empty() && pair.server.residue.is_empty(),
            "idle connections hold no buffer"
        );
    }
}

#[test]
fn old_protocol_version_works_too() {
    let (cert, key) = certificate();
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut pair = Pair::new(1, Arc::new(client), server(vec![cert], key).unwrap());
    pair.shake_hands().unwrap();
    let mut sealed = seal(&mut pair.client, b"over TLS 1.2");
    assert_eq!(
        deliver(&mut pair.server, &mut sealed, &mut Vec::new(), &mut pair.rng).unwrap(),
        b"over TLS 1.2"
    );
}

#[test]
fn records_never_outgrow_their_estimate() {
    let (client, server) = configs();
    let mut pair = Pair::new(2, client, server);
    pair.shake_hands().unwrap();
    for len in [
        0,
        1,
        FRAGMENT_MAX - 1,
        FRAGMENT_MAX,
        FRAGMENT_MAX + 1,
        3 * FRAGMENT_MAX,
        260_000,
    ] {
        assert!(
            seal(&mut pair.server, &vec![7; len]).len() <= sealed_len(len),
            "{len}"
        );
    }
}

#[test]
fn close_notify_ends_one_direction() {
    let (client, server) = configs();
    let mut pair = Pair::new(3, client, server);
    pair.shake_hands().unwrap();
    let mut bytes = seal(&mut pair.client, b"tail");
    let mut alert = vec![0; sealed_len(0)];
    let n = pair.client.close_notify(&mut alert).unwrap();
    bytes.extend_from_slice(&alert[..n]);
    let got = deliver(&mut pair.server, &mut bytes, &mut Vec::new(), &mut pair.rng).unwrap();
    assert!(got == b"tail" && pair.server.peer_closed());
    assert!(matches!(
        pair.client.encrypt(b"more", &mut alert),
        Err(TlsError::NotReady)
    ));

    let mut answer = seal(&mut pair.server, b"still open this way");
    let got = deliver(&mut pair.client, &mut answer, &mut Vec::new(), &mut pair.rng).unwrap();
    assert_eq!(got, b"still open this way");
}

#[test]
fn garbage_gets_an_alert_and_an_error() {
    let (_, server) = configs();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
        &[0xff; 64],
    ] {
        let mut tls = Tls::server(Arc::clone(&server)).unwrap();
        let mut alert = Vec::new();
        let result = tls.receive(
            &mut garbage.to_vec(),
            &mut |_| panic!("nothing to decrypt"),
            &mut alert,
        );
        assert!(matches!(result, Err(TlsError::Protocol(_))), "{garbage:?}");
        assert_eq!(alert.first(), Some(&0x15), "an alert record for {garbage:?}");
    }
}

#[test]
fn endless_hello_is_cut_off() {
    let (_, server) = configs();
    let mut tls = Tls::server(server).unwrap();
    let mut out = Vec::new();
    // A handshake message that claims 60,000 bytes, in records of 1,000.
    let mut record = vec![0x16, 3, 1, 3, 232, 1, 0, 234, 96];
    record.resize(1_005, 0);
    let mut held = 0;
    for _ in 0..100 {
        if tls.receive(&mut record.clone(), &mut |_| {}, &mut out).is_err() {
            return;
        }
        held = held.max(tls.residue.len());
        assert!(held <= SERVER_HANDSHAKE_MAX, "{held} bytes held");
        record[5..].fill(0);
    }
    panic!("100 records were taken");
}

#[test]
fn damaged_record_is_refused() {
    let (client, server) = configs();
    let mut pair = Pair::new(4, client, server);
    pair.shake_hands().unwrap();
    let mut bytes = seal(&mut pair.client, &[1; 500]);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(deliver(&mut pair.server, &mut bytes, &mut Vec::new(), &mut pair.rng).is_err());
}
