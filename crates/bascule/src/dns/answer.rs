//! Answers to questions about the names of endpoints. Pure.

use std::net::IpAddr;

use model::EndpointId;
use simple_dns::rdata::{A, AAAA, NS, OPT, RData, SOA};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

/// How long an answer may be kept, in seconds: an endpoint may get its first association any moment, or lose its last.
const TTL_S: u32 = 10;
/// What our answers fit in, in bytes; told to those who ask by EDNS.
const UDP_BYTES: u16 = 1_232;
/// The labels between an endpoint's and its region's.
const SERVICE: [&str; 2] = ["prod", "clientvpn"];
/// The label of the server itself.
const SERVER: &str = "ns";

/// What the server speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    /// Its name in lower case, without a dot at the end.
    pub domain: String,
    /// Where the server itself is.
    pub server: Vec<IpAddr>,
}

/// What a name inside or outside the zone stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Another's business.
    Outside,
    /// The zone itself.
    Zone,
    /// The server.
    Server,
    /// An endpoint, under its bare name or any name below it.
    Endpoint { id: EndpointId, region: String },
    /// A name that only leads to others.
    Between,
    /// Nothing.
    Nothing,
}

/// What is known of an endpoint's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// There is no such endpoint.
    Nothing,
    /// Where it is served; nowhere, as long as it has no target network.
    At(Vec<IpAddr>),
}

/// A question that has an answer of ours.
pub(super) struct Question<'p> {
    packet: Packet<'p>,
    pub(super) asked: Asked,
}

impl Zone {
    /// Reads a packet. An error is the answer already; `None`: it deserves none.
    pub(super) fn read<'p>(&self, bytes: &'p [u8]) -> Result<Question<'p>, Option<Vec<u8>>> {
        let packet = Packet::parse(bytes).map_err(|_| None)?;
        if packet.has_flags(PacketFlag::RESPONSE) {
            return Err(None);
        }
        let refuse = |code: RCODE| Err(Some(bytes_of(reply(&packet, code))));
        if packet.opcode() != OPCODE::StandardQuery {
            return refuse(RCODE::NotImplemented);
        }
        if packet.opt().is_some_and(|opt| opt.version != 0) {
            return refuse(RCODE::BADVERS);
        }
        let [question] = packet.questions.as_slice() else { return refuse(RCODE::FormatError) };
        let ours = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY)
            && !matches!(question.qtype, QTYPE::AXFR | QTYPE::IXFR | QTYPE::MAILA | QTYPE::MAILB);
        let asked = if ours { self.asked(&question.qname) } else { Asked::Outside };
        if asked == Asked::Outside {
            return refuse(RCODE::Refused);
        }
        Ok(Question { packet, asked })
    }

    fn asked(&self, name: &Name<'_>) -> Asked {
        // A label may hold any bytes, a dot among them: such a name is none of ours.
        let labels: Option<Vec<String>> = name
            .as_bytes()
            .map(|label| {
                String::from_utf8(label.to_ascii_lowercase()).ok().filter(|text| !text.contains('.'))
            })
            .collect();
        let Some(labels) = labels else { return Asked::Outside };
        let own: Vec<&str> = self.domain.split('.').collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let Some(inner) = labels.strip_suffix(own.as_slice()) else { return Asked::Outside };
        match inner {
            [] => Asked::Zone,
            [SERVER] => Asked::Server,
            [_region] => Asked::Between,
            [service, _region] if *service == SERVICE[1] => Asked::Between,
            [first, second, _region] if [*first, *second] == SERVICE => Asked::Between,
            [.., id, first, second, region] if [*first, *second] == SERVICE => match id.parse() {
                Ok(id) => Asked::Endpoint { id, region: (*region).to_owned() },
                Err(_) => Asked::Nothing,
            },
            _ => Asked::Nothing,
        }
    }

    /// The answer, once it is known what the name stands for.
    pub(super) fn answer(&self, question: &Question<'_>, known: &Known) -> Vec<u8> {
        let packet = &question.packet;
        let Some(asked) = packet.questions.first() else {
            return bytes_of(reply(packet, RCODE::FormatError));
        };
        let wants = |kind: TYPE| asked.qtype == QTYPE::TYPE(kind) || asked.qtype == QTYPE::ANY;
        let owner = &asked.qname;
        let mut code = RCODE::NoError;
        let mut records = Vec::new();
        match &question.asked {
            Asked::Zone => {
                if wants(TYPE::SOA) {
                    records.extend(self.soa());
                }
                if wants(TYPE::NS) {
                    records.extend(self.ns());
                }
            }
            Asked::Server => records.extend(addresses(owner, &self.server, wants)),
            Asked::Endpoint { .. } => match known {
                Known::Nothing => code = RCODE::NameError,
                Known::At(places) => records.extend(addresses(owner, places, wants)),
            },
            Asked::Between => {}
            Asked::Nothing | Asked::Outside => code = RCODE::NameError,
        }
        let mut answer = reply(packet, code);
        answer.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        if records.is_empty() {
            answer.name_servers.extend(self.soa());
        }
        answer.answers = records;
        bytes_of(answer)
    }

    fn soa(&self) -> Option<ResourceRecord<'static>> {
        let soa = SOA {
            mname: name(&format!("{SERVER}.{}", self.domain))?,
            rname: name(&format!("hostmaster.{}", self.domain))?,
            serial: 1,
            refresh: 3_600,
            retry: 600,
            expire: 86_400,
            // How long it may be believed that something is not there.
            minimum: TTL_S,
        };
        Some(ResourceRecord::new(name(&self.domain)?, CLASS::IN, TTL_S, RData::SOA(soa)))
    }

    fn ns(&self) -> Option<ResourceRecord<'static>> {
        let server = NS(name(&format!("{SERVER}.{}", self.domain))?);
        Some(ResourceRecord::new(name(&self.domain)?, CLASS::IN, TTL_S, RData::NS(server)))
    }
}

fn name(text: &str) -> Option<Name<'static>> {
    Name::new(text).ok().map(Name::into_owned)
}

fn addresses<'n>(
    owner: &Name<'n>,
    places: &[IpAddr],
    wants: impl Fn(TYPE) -> bool,
) -> Vec<ResourceRecord<'n>> {
    let record = |place: &IpAddr| {
        let (kind, data) = match place {
            IpAddr::V4(ip) => (TYPE::A, RData::A(A { address: u32::from(*ip) })),
            IpAddr::V6(ip) => (TYPE::AAAA, RData::AAAA(AAAA { address: u128::from(*ip) })),
        };
        wants(kind).then(|| ResourceRecord::new(owner.clone(), CLASS::IN, TTL_S, data))
    };
    places.iter().filter_map(record).collect()
}

/// The beginning of every answer: the question as it came, and EDNS where it had that.
fn reply<'p>(packet: &Packet<'p>, code: RCODE) -> Packet<'p> {
    let mut answer = Packet::new_reply(packet.id());
    *answer.opcode_mut() = packet.opcode();
    answer.questions.clone_from(&packet.questions);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        answer.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if packet.opt().is_some() {
        *answer.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: UDP_BYTES, version: 0 });
    }
    *answer.rcode_mut() = code;
    answer
}

fn bytes_of(answer: Packet<'_>) -> Vec<u8> {
    answer.build_bytes_vec_compressed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use simple_dns::Question as Entry;

    use super::*;

    const ID: &str = "cvpn-endpoint-0123456789abcdef0";

    fn zone() -> Zone {
        Zone { domain: "vpn.example.com".into(), server: vec!["192.0.2.53".parse().unwrap()] }
    }

    fn query(text: &str, qtype: QTYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(Entry::new(Name::new(text).unwrap(), qtype, QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    /// Code, whether it is authoritative, and the answers.
    fn ask(text: &str, qtype: QTYPE, places: &[&str]) -> (RCODE, bool, Vec<String>) {
        let (bytes, zone) = (query(text, qtype), zone());
        let known = Known::At(places.iter().map(|place| place.parse().unwrap()).collect());
        let answer = match zone.read(&bytes) {
            Ok(question) => zone.answer(&question, &known),
            Err(answer) => answer.unwrap(),
        };
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!((answer.id(), answer.questions.len()), (7, 1));
        assert!(answer.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        assert!(!answer.has_flags(PacketFlag::RECURSION_AVAILABLE));
        let shown = |record: &ResourceRecord<'_>| match &record.rdata {
            RData::A(A { address }) => IpAddr::from(address.to_be_bytes()).to_string(),
            RData::AAAA(AAAA { address }) => IpAddr::from(address.to_be_bytes()).to_string(),
            RData::NS(NS(name)) => name.to_string(),
            RData::SOA(soa) => soa.mname.to_string(),
            other => format!("{other:?}"),
        };
        let authoritative = answer.has_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        let empty = answer.answers.is_empty() && answer.rcode() != RCODE::Refused;
        assert_eq!(empty, !answer.name_servers.is_empty(), "what is not there is said by the zone");
        (answer.rcode(), authoritative, answer.answers.iter().map(shown).collect())
    }

    #[test]
    fn names_of_endpoints_lead_to_their_addresses() {
        let bare = format!("{ID}.prod.clientvpn.us-east-1.vpn.example.com");
        let both = ["192.0.2.1", "2001:db8::1"];
        for prefix in ["", "x7f3.", "a.b.", "X7F3."] {
            let name = format!("{prefix}{bare}");
            let a = ask(&name, QTYPE::TYPE(TYPE::A), &both);
            assert_eq!(a, (RCODE::NoError, true, vec!["192.0.2.1".into()]), "{name}");
            let aaaa = ask(&name, QTYPE::TYPE(TYPE::AAAA), &both);
            assert_eq!(aaaa, (RCODE::NoError, true, vec!["2001:db8::1".into()]), "{name}");
        }
        // Case does not matter, and nothing of another kind or nowhere is no error.
        let loud = bare.to_uppercase();
        assert_eq!(ask(&loud, QTYPE::TYPE(TYPE::A), &both).2, ["192.0.2.1"]);
        assert_eq!(ask(&bare, QTYPE::TYPE(TYPE::TXT), &both), (RCODE::NoError, true, vec![]));
        assert_eq!(ask(&bare, QTYPE::TYPE(TYPE::A), &[]), (RCODE::NoError, true, vec![]));
    }

    #[test]
    fn everything_else_is_said_plainly() {
        let a = QTYPE::TYPE(TYPE::A);
        let rows = [
            ("vpn.example.com", QTYPE::TYPE(TYPE::SOA), RCODE::NoError, vec!["ns.vpn.example.com"]),
            ("vpn.example.com", QTYPE::TYPE(TYPE::NS), RCODE::NoError, vec!["ns.vpn.example.com"]),
            ("vpn.example.com", a, RCODE::NoError, vec![]),
            ("ns.vpn.example.com", a, RCODE::NoError, vec!["192.0.2.53"]),
            ("us-east-1.vpn.example.com", a, RCODE::NoError, vec![]),
            ("clientvpn.us-east-1.vpn.example.com", a, RCODE::NoError, vec![]),
            ("prod.clientvpn.us-east-1.vpn.example.com", a, RCODE::NoError, vec![]),
            ("x.prod.clientvpn.us-east-1.vpn.example.com", a, RCODE::NameError, vec![]),
            ("x.clientvpn.us-east-1.vpn.example.com", a, RCODE::NameError, vec![]),
            ("example.com", a, RCODE::Refused, vec![]),
            ("evilvpn.example.com", a, RCODE::Refused, vec![]),
            ("com", a, RCODE::Refused, vec![]),
            ("vpn.example.com", QTYPE::AXFR, RCODE::Refused, vec![]),
        ];
        for (name, qtype, code, answers) in rows {
            let got = ask(name, qtype, &["192.0.2.1"]);
            assert_eq!(
                (got.0, got.2),
                (code, answers.into_iter().map(str::to_owned).collect()),
                "{name} {qtype:?}"
            );
            assert_eq!(got.1, code != RCODE::Refused, "{name}");
        }
    }

    #[test]
    fn an_endpoint_that_is_not_there_is_no_name() {
        let bytes = query(&format!("{ID}.prod.clientvpn.us-east-1.vpn.example.com"), QTYPE::TYPE(TYPE::A));
        let zone = zone();
        let Ok(question) = zone.read(&bytes) else { panic!("it is of the zone") };
        let answer = zone.answer(&question, &Known::Nothing);
        assert_eq!(Packet::parse(&answer).unwrap().rcode(), RCODE::NameError);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let zone = zone();
        let silent = |bytes: &[u8]| matches!(zone.read(bytes), Err(None));
        assert!(silent(b"") && silent(b"\0") && silent(&[0xff; 40]));
        let mut response = query("vpn.example.com", QTYPE::TYPE(TYPE::A));
        response[2] |= 0x80;
        assert!(silent(&response), "two servers could talk for ever");
        let mut update = query("vpn.example.com", QTYPE::TYPE(TYPE::A));
        update[2] |= 5 << 3;
        let Err(Some(answer)) = zone.read(&update) else { panic!("an answer") };
        assert_eq!(Packet::parse(&answer).unwrap().rcode(), RCODE::NotImplemented);
        for end in 0..response.len() {
            let _ = zone.read(&response[..end]);
        }
    }

    /// No question makes an answer that is no answer, that is too long, or that a server would answer in turn.
    #[test]
    fn foreign_questions() {
        let name = format!("{ID}.prod.clientvpn.us-east-1.vpn.example.com");
        let kinds = [QTYPE::TYPE(TYPE::A), QTYPE::TYPE(TYPE::SOA), QTYPE::ANY, QTYPE::AXFR];
        let names = [name.as_str(), "vpn.example.com", "example.com", "ns.vpn.example.com"];
        let seeds = names.iter().flat_map(|name| kinds.map(|kind| query(name, kind))).collect();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dns/corpus.txt");
        let (zone, mut answers) = (zone(), 0);
        let known = [Known::Nothing, Known::At(vec!["192.0.2.1".parse().unwrap()])];
        foreign::storm(&file, seeds, 5_000, |bytes, dice| {
            let answer = match zone.read(bytes) {
                Ok(question) => zone.answer(&question, &known[dice.place(2)]),
                Err(Some(answer)) => answer,
                Err(None) => return,
            };
            answers += 1;
            assert!(answer.len() <= usize::from(UDP_BYTES), "{} bytes", answer.len());
            let read = Packet::parse(&answer).expect("an answer can be read");
            assert!(read.has_flags(PacketFlag::RESPONSE));
            assert_eq!(read.id().to_be_bytes(), bytes[..2]);
        });
        assert!(answers > 100, "{answers}");
    }
}
