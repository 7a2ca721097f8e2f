//! Prefix lists that rules of the upstream's groups speak of. They are read whenever the groups are, and kept with them: a
//! list that cannot be read lets out what it let out when it was read last, and one that nobody has read lets nothing out.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{GroupRule, Kind, PrefixList, PrefixListId, Scope, SecurityGroup, SecurityRuleId, prefix};
use roxmltree::Node;
use store::{StoreError, typed};

use super::Networks;
use super::ask::{Fault, Pairs, filter, text_of};
use super::judge::{Said, said};
use super::rows::{GroupRow, MAX_RULES};
use crate::ec2::security_rule;

/// Most lists of one region that are read; rules about others let nothing out.
const MAX_LISTS: usize = 64;
/// Most blocks of one list that are kept (AWS's quota for the entries of a list).
const MAX_ENTRIES: usize = 1_000;
/// The codes that say for certain that a list is not there. UNVERIFIED: AWS's documents spell it in both ways.
const NO_LIST: [&str; 2] = ["InvalidPrefixListID.NotFound", "InvalidPrefixListId.NotFound"];

/// Lists by id.
pub(super) type Lists = BTreeMap<PrefixListId, PrefixList>;

/// A rule of a group about a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListRule {
    pub list: PrefixListId,
    pub protocol: String,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub description: Option<String>,
}

/// A list as it is described.
struct Described {
    id: PrefixListId,
    version: Option<i64>,
}

fn described(row: Node<'_, '_>) -> Option<Described> {
    Some(Described {
        id: text_of(row, "prefixListId")?.parse().ok()?,
        version: text_of(row, "version").and_then(|text| text.parse().ok()),
    })
}

/// What may leave by a group: its own rules, and those about lists, a rule for each block.
pub(super) fn egress(row: &GroupRow, lists: &Lists) -> Vec<GroupRule> {
    let about_lists = row.egress_to_lists.iter().flat_map(|rule| {
        let cidrs = lists.get(&rule.list).into_iter().flat_map(|list| &list.cidrs);
        cidrs.filter_map(|cidr| {
            let says = security_rule(&rule.protocol, rule.from_port, rule.to_port, Some(*cidr))?;
            let id = SecurityRuleId::from_entropy(0);
            Some(GroupRule { id, says, group: None, description: rule.description.clone() })
        })
    });
    row.egress.iter().cloned().chain(about_lists).collect()
}

impl Networks {
    /// The lists that these groups' rules speak of; those that cannot be read, as they were read last. With it, what could
    /// not be read. No fault of a list keeps the groups themselves from being followed.
    pub(super) async fn lists_of<'r>(
        &self,
        scope: &Scope,
        rows: impl Iterator<Item = &'r GroupRow> + Clone + Send,
    ) -> Result<(Lists, Vec<String>), StoreError> {
        let rules = rows.clone().flat_map(|row| &row.egress_to_lists);
        let wanted: BTreeSet<PrefixListId> = rules.map(|rule| rule.list.clone()).collect();
        if wanted.is_empty() {
            return Ok((Lists::new(), Vec::new()));
        }
        let known = self.known_lists(scope).await?;
        let (lists, mut failures) = self.read_lists(scope, &wanted, known).await;
        let too_long = rows.filter(|row| egress(row, &lists).len() > MAX_RULES);
        failures.extend(too_long.map(|row| format!("{}: rules beyond {MAX_RULES} let nothing out", row.id)));
        Ok((lists, failures))
    }

    /// As the groups' copies have them.
    async fn known_lists(&self, scope: &Scope) -> Result<Lists, StoreError> {
        let groups: Vec<typed::Record<SecurityGroup>> =
            typed::list(self.store.as_ref(), &prefix::of(scope, Kind::SecurityGroup)).await?.0;
        Ok(groups.into_iter().flat_map(|group| group.value.prefix_lists).collect())
    }

    async fn read_lists(
        &self,
        scope: &Scope,
        wanted: &BTreeSet<PrefixListId>,
        mut known: Lists,
    ) -> (Lists, Vec<String>) {
        let (mut lists, mut failures) = (Lists::new(), Vec::new());
        if wanted.len() > MAX_LISTS {
            failures.push(format!("prefix lists beyond {MAX_LISTS} let nothing out"));
        }
        let ids: Vec<&PrefixListId> = wanted.iter().take(MAX_LISTS).collect();
        let by_id = filter("prefix-list-id", ids.iter().map(|id| id.as_str()), 1);
        let described = self.describe_lists(scope, &by_id).await;
        // Nobody waits for the same silence once for each list.
        let mut asks = described.is_ok();
        let versions: BTreeMap<_, _> = match described {
            Ok(rows) => rows.into_iter().map(|row| (row.id, row.version)).collect(),
            Err(fault) => {
                failures.push(format!("prefix lists: {fault}"));
                BTreeMap::new()
            }
        };
        for id in ids {
            let last = known.remove(id);
            let said = match versions.get(id) {
                _ if !asks => None,
                Some(version) => Some(self.read_list(scope, id, *version, last.as_ref()).await),
                None => Some(self.look_for_list(scope, id, last.as_ref()).await),
            };
            let list = match said {
                Some(Said::Is(list)) => Some(list),
                Some(Said::Gone) => None,
                Some(Said::Nothing(fault)) => {
                    asks = !matches!(fault, Fault::Away(_));
                    failures.push(format!("prefix list {id}: {fault}"));
                    last
                }
                None => last,
            };
            match list {
                Some(list) => drop(lists.insert(id.clone(), list)),
                None => failures.push(format!("rules about {id} let nothing out")),
            }
        }
        (lists, failures)
    }

    async fn describe_lists(&self, scope: &Scope, pairs: &Pairs) -> Result<Vec<Described>, Fault> {
        self.list(scope.region.as_str(), "DescribeManagedPrefixLists", pairs, "prefixListSet", described)
            .await
    }

    /// A list that was not among those asked for together: alone its absence has a code.
    async fn look_for_list(
        &self,
        scope: &Scope,
        id: &PrefixListId,
        last: Option<&PrefixList>,
    ) -> Said<PrefixList> {
        let pairs = vec![("PrefixListId.1".to_owned(), id.to_string())];
        let found = self.describe_lists(scope, &pairs).await;
        match said(found.map(|rows| rows.into_iter().find(|row| row.id == *id)), &NO_LIST, id.as_str()) {
            Said::Is(row) => self.read_list(scope, id, row.version, last).await,
            Said::Gone => Said::Gone,
            Said::Nothing(fault) => Said::Nothing(fault),
        }
    }

    /// The entries of a list, unless this version has been read.
    async fn read_list(
        &self,
        scope: &Scope,
        id: &PrefixListId,
        version: Option<i64>,
        last: Option<&PrefixList>,
    ) -> Said<PrefixList> {
        if let Some(last) = last.filter(|last| version.is_some() && last.version == version) {
            return Said::Is(last.clone());
        }
        let pairs = vec![("PrefixListId".to_owned(), id.to_string())];
        let cidr = |row: Node<'_, '_>| text_of(row, "cidr")?.parse::<IpNet>().ok();
        let action = "GetManagedPrefixListEntries";
        let found = self.list(scope.region.as_str(), action, &pairs, "entrySet", cidr).await;
        let bounded = found.and_then(|cidrs| match cidrs.len() {
            0..=MAX_ENTRIES => Ok(Some(PrefixList { version, cidrs })),
            _ => Err(Fault::Unclear(format!("more than {MAX_ENTRIES} entries"))),
        });
        said(bounded, &NO_LIST, id.as_str())
    }
}
