//! A thread's turns, taken by hand.

use std::sync::mpsc;

use rustix::event::{EventfdFlags, eventfd};

use super::*;
use crate::reach::Reach;
use crate::{Limits, Timeouts, queue};

fn shard() -> Shard {
    let (_, commands) = mpsc::channel();
    let reach = Reach::new(Vec::new(), Vec::new());
    Shard::new(Wiring {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
        waker: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()),
        commands,
        share: Arc::new(Share::new(Limits::default(), Timeouts::default(), reach)),
    })
    .unwrap()
}

#[test]
fn a_queue_waits_for_its_turn_once() {
    let mut shard = shard();
    let (theirs, ours) = queue::pair(1500).unwrap();
    shard.add(7, ours, Arc::default(), Arc::default()).unwrap();
    let packets = PACKETS_PER_TURN + 40;
    // Its descriptor is ready twice before it has its turn again.
    for _ in 0..2 {
        for _ in 0..packets {
            netio::tun::write(&theirs, &[0; 16]).unwrap();
        }
        shard.happened(Source::Queue(7), EventFlags::IN);
        assert_eq!(shard.waiting.len(), 1);
    }
    shard.go_on();
    assert!(shard.waiting.is_empty());
    let refused = shard.wiring.share.stats.figures().refused["malformed"];
    assert_eq!(refused, u64::try_from(2 * packets).unwrap(), "each was looked at");
}
