//! A scripted TLS double for simulations: flights of the right shape, no secrecy and no randomness. Tests only.
//!
//! Three flights as in TLS 1.3 (hello; hello, certificate, finished; certificate, finished), then application data.
//! Records are `kind(1) | length(4) | body`; both ends derive the same exporter from both hellos.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{Tls, TlsError};

const HELLO: u8 = 1;
const SERVER_FLIGHT: u8 = 2;
const CLIENT_FLIGHT: u8 = 3;
const DATA: u8 = 4;
const ALERT: u8 = 5;

/// How the double behaves.
#[derive(Clone, Debug)]
pub struct Script {
    /// Tells this end's hello from others'.
    pub seed: u64,
    /// Padding of our flights, in bytes: what certificates and extensions take in real life.
    pub flight_bytes: usize,
    /// Shown to the other end (DER in real life, anything here).
    pub certificates: Vec<Vec<u8>>,
    /// Refuse the other end's flight with an alert.
    pub refuse: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self { seed: 0, flight_bytes: 900, certificates: Vec::new(), refuse: false }
    }
}

/// One end of a pretended TLS connection.
pub struct Double {
    is_client: bool,
    script: Script,
    input: Vec<u8>,
    output: Vec<u8>,
    plaintext: Vec<u8>,
    own: [u8; 8],
    peer: Option<[u8; 8]>,
    peer_certificates: Vec<Vec<u8>>,
    complete: bool,
    broken: bool,
}

impl Double {
    /// The client's end; its hello is ready to be drained.
    #[must_use]
    pub fn client(script: Script) -> Self {
        let mut double = Self::new(true, script);
        let hello = double.own.to_vec();
        double.record(HELLO, hello);
        double
    }

    /// The server's end.
    #[must_use]
    pub fn server(script: Script) -> Self {
        Self::new(false, script)
    }

    fn new(is_client: bool, script: Script) -> Self {
        let own = script.seed.to_be_bytes();
        Self {
            is_client,
            script,
            input: Vec::new(),
            output: Vec::new(),
            plaintext: Vec::new(),
            own,
            peer: None,
            peer_certificates: Vec::new(),
            complete: false,
            broken: false,
        }
    }

    fn record(&mut self, kind: u8, body: Vec<u8>) {
        self.output.push(kind);
        self.output.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
        self.output.extend(body);
    }

    /// Hello, certificates, padding.
    fn flight(&self) -> Vec<u8> {
        let mut body = self.own.to_vec();
        body.push(u8::try_from(self.script.certificates.len()).unwrap_or(u8::MAX));
        for certificate in self.script.certificates.iter().take(usize::from(u8::MAX)) {
            body.extend_from_slice(&u32::try_from(certificate.len()).unwrap_or(0).to_be_bytes());
            body.extend_from_slice(certificate);
        }
        body.resize(body.len() + self.script.flight_bytes, 0x5a);
        body
    }

    fn read_flight(&mut self, body: &[u8]) -> Option<()> {
        let (hello, rest) = body.split_first_chunk::<8>()?;
        self.peer = Some(*hello);
        let (count, mut rest) = rest.split_first()?;
        for _ in 0..*count {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (certificate, tail) = tail.split_at_checked(length)?;
            self.peer_certificates.push(certificate.to_vec());
            rest = tail;
        }
        Some(())
    }

    fn take(&mut self, kind: u8, body: &[u8]) -> Result<(), TlsError> {
        match (kind, self.is_client, self.complete) {
            (HELLO, false, false) if self.peer.is_none() => {
                self.peer = body.first_chunk::<8>().copied();
                let flight = self.flight();
                self.record(SERVER_FLIGHT, flight);
            }
            (SERVER_FLIGHT, true, false) | (CLIENT_FLIGHT, false, false) if self.script.refuse => {
                self.record(ALERT, Vec::new());
                return Err(TlsError::Scripted("refused by script"));
            }
            (SERVER_FLIGHT, true, false) => {
                self.read_flight(body).ok_or(TlsError::Scripted("malformed flight"))?;
                let flight = self.flight();
                self.record(CLIENT_FLIGHT, flight);
                self.complete = true;
            }
            (CLIENT_FLIGHT, false, false) if self.peer.is_some() => {
                self.read_flight(body).ok_or(TlsError::Scripted("malformed flight"))?;
                self.complete = true;
            }
            (DATA, _, true) => self.plaintext.extend_from_slice(body),
            (ALERT, _, _) => return Err(TlsError::Scripted("alert received")),
            _ => return Err(TlsError::Scripted("unexpected record")),
        }
        Ok(())
    }
}

impl Tls for Double {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if self.broken {
            return Err(TlsError::Scripted("broken before"));
        }
        self.input.extend_from_slice(bytes);
        while let Some((kind, rest)) = self.input.split_first() {
            let Some((length, rest)) = rest.split_first_chunk::<4>() else { break };
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some((body, rest)) = rest.split_at_checked(length) else { break };
            let (kind, body, rest) = (*kind, body.to_vec(), rest.to_vec());
            self.input = rest;
            self.take(kind, &body).inspect_err(|_| self.broken = true)?;
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.output);
    }

    fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        if !self.complete || self.broken {
            return Err(TlsError::Scripted("not connected"));
        }
        self.record(DATA, plaintext.to_vec());
        Ok(())
    }

    fn read(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        out.append(&mut self.plaintext);
        Ok(())
    }

    fn handshaking(&self) -> bool {
        !self.complete
    }

    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.peer_certificates.clone()
    }

    fn export(&self, label: &str, out: &mut [u8]) -> Result<(), TlsError> {
        let (Some(peer), true) = (self.peer, self.complete) else {
            return Err(TlsError::Scripted("not connected"));
        };
        let (client, server) = if self.is_client { (self.own, peer) } else { (peer, self.own) };
        for (counter, chunk) in (0u64..).zip(out.chunks_mut(32)) {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(label.as_bytes()).expect("HMAC takes keys of any length");
            mac.update(&client);
            mac.update(&server);
            mac.update(&counter.to_be_bytes());
            for (to, from) in chunk.iter_mut().zip(mac.finalize().into_bytes()) {
                *to = from;
            }
        }
        Ok(())
    }
}
