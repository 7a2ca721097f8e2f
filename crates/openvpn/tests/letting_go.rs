//! What of a replaced key is kept, and for how long (spec: openvpn-protocol §10.3).

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use crate::world::{Action, MakeTls, Net, Rng, Spy, World, double_pair};
use openvpn::tls::Tls;
use openvpn::{client, server};

#[test]
fn tls_of_a_replaced_key_goes_and_its_data_key_stays() {
    let (client_tls, mut server_tls) = double_pair(&mut Rng(7));
    // Each connection has it, for as long as it lives.
    let living = Arc::default();
    let written = Arc::clone(&living);
    let server_tls: MakeTls =
        Box::new(move || Ok(Box::new(Spy(server_tls()?, Arc::clone(&written))) as Box<dyn Tls>));
    // This one, and the maker's.
    let connections = || Arc::strong_count(&living) - 2;
    let (client, server) = (client::SessionConfig::default(), server::SessionConfig::default());
    let mut world = World::new(7, Net::PERFECT, client, server, (client_tls, server_tls));
    assert!(world.run(Duration::from_secs(8), |world| world.up_at.is_some()));
    assert_eq!(connections(), 1);
    let mut late = Vec::new();
    world.client_channel.seal(b"sent with the first key", &mut late).unwrap();
    world.act(Action::ServerRenegotiates);
    assert!(world.run(Duration::from_secs(30), |world| world.seen.server_sends.len() > 1));
    assert_eq!(connections(), 2, "what is under way may still come");
    world.run(Duration::from_secs(61), |_| false);
    assert_eq!(connections(), 1);
    assert!(world.server_channel.open(&mut late).is_ok());
    assert_eq!((world.seen.server_failed.clone(), world.seen.lost_to_missing_keys), (None, 0));
    // The next one takes the place of both.
    world.act(Action::ServerRenegotiates);
    assert!(world.run(Duration::from_secs(60), |world| world.seen.server_sends.len() > 2));
    assert!(world.server.as_ref().is_some_and(server::Session::is_established));
}
