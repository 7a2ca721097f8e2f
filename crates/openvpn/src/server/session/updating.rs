//! Push options that change while the tunnel is up. spec: openvpn-protocol §9.5

use super::Session;
use crate::peer_info::proto;
use crate::push::{self, Kind};

impl Session {
    /// Takes other push options than those of the accepted login. Before the push reply they simply stand in it;
    /// afterwards the client is told by PUSH_UPDATE, once a renegotiation that is under way is done. False: the client
    /// takes no updates, or not of what has changed; it learns the rest when it connects anew.
    pub fn retell(&mut self, options: Vec<String>) -> bool {
        if self.over || self.goodbye.is_some() {
            return true;
        }
        let former = std::mem::replace(&mut self.terms.options, options);
        let (Some(cipher), Some(pushed)) = (self.terms.cipher, &self.pushed) else { return true };
        let wanted = self.options(cipher);
        let takes = self.terms.peer_info.has(proto::PUSH_UPDATE);
        match push::update(&pushed.told, &wanted) {
            Some(update) if takes || update.is_empty() => {
                self.tell_update();
                true
            }
            Some(_) | None => {
                self.terms.options = former;
                false
            }
        }
    }

    /// Tells the client what is wanted and it has not been told. During a renegotiation it reads nothing of the old key
    /// any more, and nothing of the new one yet.
    pub(super) fn tell_update(&mut self) {
        if self.over || self.goodbye.is_some() || self.next.is_some() {
            return;
        }
        let Some(cipher) = self.terms.cipher else { return };
        let wanted = self.options(cipher);
        let Some(pushed) = &mut self.pushed else { return };
        let Some(update) = push::update(&pushed.told, &wanted) else { return };
        pushed.told = wanted;
        if !update.is_empty() {
            self.say(Kind::Update, &update);
        }
    }
}
