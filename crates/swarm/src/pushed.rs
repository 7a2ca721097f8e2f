//! What a server pushed, as far as it concerns a client without a device: addresses, routes, keepalive.
//!
//! spec: openvpn-protocol §9.3

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The terms of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Our IPv4 address in the tunnel, with the subnet's length.
    pub ipv4: Option<Ipv4Net>,
    /// Our IPv6 address in the tunnel.
    pub ipv6: Option<Ipv6Net>,
    /// Networks behind the tunnel.
    pub routes: Vec<IpNet>,
    /// Networks that stay outside (`net_gateway`).
    pub outside: Vec<IpNet>,
    /// All of IPv4 goes into the tunnel.
    pub all_ipv4: bool,
    /// All of IPv6 does.
    pub all_ipv6: bool,
    /// Send something at least this often.
    pub ping: Option<Duration>,
    /// Connect anew after this much silence.
    pub ping_restart: Option<Duration>,
    /// The server wants to hear that we leave, on the control channel.
    pub cc_exit: bool,
    /// The server wants to hear that we leave, on the data channel.
    pub exit_notify: bool,
    /// Something that this client does not speak; the tunnel cannot work.
    pub unspoken: Option<&'static str>,
    /// The options as they came.
    pub options: Vec<String>,
}

impl Pushed {
    /// Reads the options of a push reply; what it does not know it skips.
    #[must_use]
    pub fn parse(options: Vec<String>) -> Self {
        let mut seen = Self::default();
        for option in &options {
            seen.take(option);
        }
        seen.options = options;
        seen
    }

    fn take(&mut self, option: &str) {
        let mut words = option.split_whitespace();
        let Some(name) = words.next() else { return };
        let words: Vec<&str> = words.collect();
        let word = |place: usize| words.get(place).copied();
        let seconds = |place: usize| {
            word(place)
                .and_then(|text| text.parse().ok())
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs)
        };
        match name {
            "ifconfig" => {
                let address = word(0).and_then(|text| text.parse::<Ipv4Addr>().ok());
                let mask = word(1).and_then(|text| text.parse::<Ipv4Addr>().ok());
                // Of a pair of addresses (net30) only ours matters.
                let net = |(address, mask)| Ipv4Net::with_netmask(address, mask).ok();
                self.ipv4 = address.and_then(|own| {
                    mask.and_then(|mask| net((own, mask))).or_else(|| Ipv4Net::new(own, 32).ok())
                });
            }
            "ifconfig-ipv6" => self.ipv6 = word(0).and_then(|text| text.parse::<Ipv6Net>().ok()),
            "route" => {
                let network = word(0).and_then(|text| text.parse::<Ipv4Addr>().ok());
                let mask = word(1).map_or(Some(Ipv4Addr::BROADCAST), |text| text.parse().ok());
                let net = network.zip(mask).and_then(|(net, mask)| Ipv4Net::with_netmask(net, mask).ok());
                self.route(net.map(|net| IpNet::V4(net.trunc())), word(2));
            }
            "route-ipv6" => {
                let net = word(0).and_then(|text| text.parse::<Ipv6Net>().ok());
                self.route(net.map(|net| IpNet::V6(net.trunc())), word(1));
            }
            "redirect-gateway" => {
                self.all_ipv4 |= !words.contains(&"!ipv4");
                self.all_ipv6 |= words.contains(&"ipv6");
            }
            "ping" => self.ping = seconds(0),
            "ping-restart" | "ping-exit" => self.ping_restart = seconds(0),
            "explicit-exit-notify" => self.exit_notify = word(0) != Some("0"),
            "protocol-flags" => self.cc_exit |= words.contains(&"cc-exit"),
            "compress" | "comp-lzo" if !matches!(word(0), Some("no" | "migrate")) => {
                self.unspoken = Some("the server wants compression");
            }
            _ => {}
        }
    }

    fn route(&mut self, net: Option<IpNet>, gateway: Option<&str>) {
        let list = if gateway == Some("net_gateway") { &mut self.outside } else { &mut self.routes };
        list.extend(net);
    }

    /// Whether a stock client would send packets for this address into the tunnel.
    #[must_use]
    pub fn leads_to(&self, address: IpAddr) -> bool {
        let longest =
            |nets: &[IpNet]| nets.iter().filter(|net| net.contains(&address)).map(IpNet::prefix_len).max();
        let (all, own) = match address {
            IpAddr::V4(_) => (self.all_ipv4, self.ipv4.map(IpNet::V4)),
            IpAddr::V6(_) => (self.all_ipv6, self.ipv6.map(IpNet::V6)),
        };
        let own = own.filter(|net| net.contains(&address)).map(|net| net.prefix_len());
        let inside = longest(&self.routes).max(own).max(all.then_some(0));
        inside.is_some() && inside >= longest(&self.outside)
    }

    /// Our address of the family of another one.
    #[must_use]
    pub fn source_for(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.ipv4.map(|net| net.addr().into()),
            IpAddr::V6(_) => self.ipv6.map(|net: Ipv6Net| -> Ipv6Addr { net.addr() }).map(IpAddr::V6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(line: &str) -> Pushed {
        Pushed::parse(line.split(',').map(str::to_owned).collect())
    }

    #[test]
    fn replies_as_they_were_seen() {
        let split = pushed(
            "dhcp-option DNS 10.0.0.2,route 10.0.0.0 255.255.0.0,route 172.16.8.0 255.255.248.0,\
             route-gateway 10.8.0.129,topology subnet,ping 1,ping-restart 20,echo,echo,echo,\
             ifconfig 10.8.0.133 255.255.255.224,peer-id 1,cipher AES-256-GCM,\
             protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500",
        );
        assert_eq!(split.ipv4, Some("10.8.0.133/27".parse().unwrap()));
        assert_eq!(
            (split.ping, split.ping_restart),
            (Some(Duration::from_secs(1)), Some(Duration::from_secs(20)))
        );
        assert!(split.cc_exit && !split.exit_notify && split.unspoken.is_none());
        for (address, inside) in [
            ("10.0.255.1", true),
            ("172.16.15.9", true),
            ("10.8.0.130", true),
            ("10.1.0.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(split.leads_to(address.parse().unwrap()), inside, "{address}");
        }
        let full = pushed(
            "redirect-gateway def1 bypass-dhcp,route 192.0.2.0 255.255.255.0 net_gateway,ifconfig 10.8.0.2 10.8.0.1",
        );
        assert_eq!(full.ipv4, Some("10.8.0.2/32".parse().unwrap()));
        assert!(full.leads_to("8.8.8.8".parse().unwrap()) && !full.leads_to("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn ipv6_flags_and_nonsense() {
        let six = pushed("ifconfig-ipv6 fd00::2/64 fd00::1,route-ipv6 2000::/3,explicit-exit-notify 1");
        assert_eq!(six.source_for("2001:db8::1".parse().unwrap()), Some("fd00::2".parse().unwrap()));
        assert_eq!(six.source_for("10.0.0.1".parse().unwrap()), None);
        assert!(six.leads_to("2001:db8::1".parse().unwrap()) && six.exit_notify);
        assert!(pushed("comp-lzo yes").unspoken.is_some());
        assert_eq!(pushed("comp-lzo no").unspoken, None);
        let nothing = pushed("ifconfig x y,route a b,ping z,ifconfig-ipv6 7,route 1.2.3.4 1.2.3.4,,ping 0");
        assert_eq!(Pushed { options: Vec::new(), ..nothing }, Pushed::default());
    }
}
