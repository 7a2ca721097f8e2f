//! Revocation lists, signed once for all schedules.

use std::sync::{Arc, LazyLock};

use gateway::desired::Endpoint;

use crate::world::{EPOCH, pki};

/// The clients' common names, in the order of their certificates.
pub const NAMES: [&str; 4] = ["alice.example", "bob.example", "carol.example", "dave.example"];

/// The one that no authority of ours has signed, and the one that has expired unless clocks go back.
const OTHERS: [&str; 2] = ["eve.example", "old.example"];

/// The common name behind a number.
pub fn name(number: usize) -> &'static str {
    NAMES.iter().chain(&OTHERS).nth(number).expect("a client")
}

pub struct List {
    pub bytes: Arc<Vec<u8>>,
    pub revoked: Vec<usize>,
    pub readable: bool,
    /// Its next update, in Unix seconds.
    pub until: i64,
}

/// When all lists are issued, in Unix seconds.
const FROM: i64 = EPOCH - 60;

impl List {
    /// Whether it lets anybody in.
    pub fn is_in_force(&self, unix: i64) -> bool {
        self.readable && (FROM..self.until).contains(&unix)
    }

    pub fn names(&self, name: &str) -> bool {
        self.readable && self.revoked.iter().any(|n| NAMES[*n] == name)
    }
}

const FAR: i64 = EPOCH + 50 * 365 * 86_400;
/// One that runs out while some schedules last.
const SOON: i64 = EPOCH + 40;

pub static LISTS: LazyLock<Vec<List>> = LazyLock::new(|| {
    let signed = |revoked: &[usize], until| List {
        bytes: Arc::new(pki::crl(revoked, until)),
        revoked: revoked.to_vec(),
        readable: true,
        until,
    };
    let noise = List { bytes: Arc::new(b"no list".to_vec()), revoked: vec![], readable: false, until: FAR };
    vec![
        signed(&[], FAR),
        signed(&[0], FAR),
        signed(&[1], FAR),
        signed(&[0, 2], FAR),
        signed(&[3], SOON),
        signed(&[], SOON),
        noise,
    ]
});

/// The list that is wanted of an endpoint.
pub fn of(endpoint: &Endpoint) -> Option<&'static List> {
    let bytes = endpoint.crl.as_ref()?;
    Some(LISTS.iter().find(|list| Arc::ptr_eq(&list.bytes, bytes)).expect("a list of ours"))
}
