//! What a descriptor of a thread's epoll is.

use rustix::event::epoll::EventData;

use super::slots::Place;

/// What a descriptor is, as epoll remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Waker,
    Queue(u32),
    Flow(Place),
}

/// The kind of source stands in the highest byte, a flow's generation below it, its place at the end.
const TAG_SHIFT: u32 = 56;

impl Source {
    pub(super) fn data(self) -> EventData {
        let (tag, number) = match self {
            Self::Waker => (0, 0),
            Self::Queue(id) => (1, u64::from(id)),
            Self::Flow(place) => (2, u64::from(place.generation) << 32 | u64::from(place.slot)),
        };
        EventData::new_u64(tag << TAG_SHIFT | number)
    }

    pub(super) fn of(data: EventData) -> Self {
        let data = data.u64();
        let [tag, g2, g1, g0, s3, s2, s1, s0] = data.to_be_bytes();
        let slot = u32::from_be_bytes([s3, s2, s1, s0]);
        match tag {
            1 => Self::Queue(slot),
            2 => Self::Flow(Place { slot, generation: u32::from_be_bytes([0, g2, g1, g0]) }),
            _ => Self::Waker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_remembers_what_a_descriptor_is() {
        for source in [
            Source::Waker,
            Source::Queue(0),
            Source::Queue(u32::MAX),
            Source::Flow(Place { slot: 0, generation: 0 }),
            Source::Flow(Place { slot: u32::MAX, generation: 0xff_ffff }),
            Source::Flow(Place { slot: 7, generation: 0x12_3456 }),
        ] {
            assert_eq!(Source::of(source.data()), source);
        }
    }
}
