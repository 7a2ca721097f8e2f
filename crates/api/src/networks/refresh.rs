//! Reading anew what endpoints refer to. What is listed is brought up to date; what is missing from a list is asked for by
//! its id alone; only a subnet that the upstream then says it does not know ends its associations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metrics::counter;
use model::{
    Association, AssociationCode, Certificate, Endpoint, Key, Kind, Route, Scope, SecurityGroup,
    SecurityGroupId, Subnet, SubnetId, Vpc, VpcId, prefix,
};
use store::typed::{self, Record};
use store::{Outcome as Written, StoreError};
use tokio::time::Instant;

use super::ask::{Fault, filter};
use super::judge::{Said, Wanted};
use super::remembered::Outcome;
use super::rows;
use super::{Neighbour, Networks};
use crate::ec2::disassociation::Leaving;

/// Most regions of one refresh.
const MAX_REGIONS: usize = 64;
/// Most ids of one question (AWS takes 200 values of a filter).
const MAX_IDS: usize = 100;
/// Most questions about one id alone, of one refresh and region; the others have their turn later.
const MAX_SINGLE_QUESTIONS: usize = 32;
/// How long one region's questions about single ids may take.
const SINGLE_QUESTIONS_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the end of an association is tried when others write in between.
const MAX_ATTEMPTS: usize = 16;

/// What the store has of a scope.
struct Stored {
    endpoints: Vec<Record<Endpoint>>,
    associations: Vec<Record<Association>>,
    vpcs: Vec<Record<Vpc>>,
    subnets: Vec<Record<Subnet>>,
    groups: Vec<Record<SecurityGroup>>,
    certificates: Vec<Record<Certificate>>,
}

/// What went wrong in one region's refresh, and what is left of its questions.
struct Course {
    failures: Vec<String>,
    questions_left: usize,
    ends_at: Instant,
}

impl Networks {
    /// Reads everything anew once.
    pub(crate) async fn refresh(&self) {
        let mut failures = Vec::new();
        match self.scopes().await {
            Ok(scopes) => {
                for scope in scopes {
                    let mut course = Course::start();
                    if let Err(error) = self.refresh_scope(&scope, &mut course).await {
                        tracing::error!(error = %error, "the store failed");
                        course.failures.push("the store failed".to_owned());
                    }
                    failures.append(&mut course.failures);
                }
            }
            Err(error) => {
                tracing::error!(error = %error, "the store failed");
                failures.push("the store failed".to_owned());
            }
        }
        self.refreshed(&failures);
    }

    /// The regions of the account in which there is anything; one small read for each.
    async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        let all = format!("/v1/{}/", self.account);
        let mut scopes = Vec::new();
        let mut after = None;
        while scopes.len() < MAX_REGIONS {
            let page = self.store.page(&all, after.as_deref(), 1).await?;
            let Some(entry) = page.entries.into_iter().next() else { break };
            let region =
                entry.key.strip_prefix(&all).and_then(|rest| rest.split('/').next()).unwrap_or_default();
            // The character after `/`: behind everything of the region.
            after = Some(format!("{all}{region}0"));
            if let Ok(region) = region.parse() {
                let scope = Scope { account: self.account.clone(), region };
                if scope != Scope::global(&self.account) && self.serves(&scope) {
                    scopes.push(scope);
                }
            }
        }
        Ok(scopes)
    }

    async fn refresh_scope(&self, scope: &Scope, course: &mut Course) -> Result<(), StoreError> {
        let stored = self.stored_of(scope).await?;
        let wanted = stored.wanted();
        if !wanted.is_empty() {
            // Whatever stops one kind stops the others: it is the same server.
            let asked = async {
                self.refresh_vpcs(scope, &stored, &wanted, course).await?;
                self.refresh_subnets(scope, &stored, &wanted, course).await?;
                self.refresh_groups(scope, &stored, &wanted, course).await?;
                self.refresh_certificates(scope, &stored, &wanted, course).await
            };
            match asked.await {
                Ok(()) | Err(Ended::Stopped) => {}
                Err(Ended::Store(error)) => return Err(error),
            }
        }
        self.sweep(scope).await
    }

    async fn stored_of(&self, scope: &Scope) -> Result<Stored, StoreError> {
        let store = self.store.as_ref();
        let place = |kind| prefix::of(scope, kind);
        Ok(Stored {
            endpoints: typed::list(store, &place(Kind::Endpoint)).await?.0,
            associations: typed::list(store, &place(Kind::Association)).await?.0,
            vpcs: typed::list(store, &place(Kind::Vpc)).await?.0,
            subnets: typed::list(store, &place(Kind::Subnet)).await?.0,
            groups: typed::list(store, &place(Kind::SecurityGroup)).await?.0,
            certificates: typed::list(store, &place(Kind::Certificate)).await?.0,
        })
    }

    async fn refresh_vpcs(
        &self,
        scope: &Scope,
        stored: &Stored,
        wanted: &Wanted,
        course: &mut Course,
    ) -> Result<(), Ended> {
        let own: BTreeSet<&VpcId> = own(&stored.vpcs, |vpc| vpc.mirrored, |vpc| &vpc.id);
        let ids: Vec<&VpcId> = wanted.vpcs.iter().filter(|id| !own.contains(id)).collect();
        for ids in ids.chunks(MAX_IDS) {
            let pairs = filter("vpc-id", ids.iter().map(|id| id.as_str()), 1);
            let answer = self.list(scope.region.as_str(), "DescribeVpcs", &pairs, "vpcSet", rows::vpc).await;
            let Some(rows) = course.answered(answer)? else { continue };
            let rows: BTreeMap<VpcId, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
            for id in ids {
                let Some(said) = course.said(&rows, *id, self.ask_vpc(scope, id)).await else { continue };
                match said {
                    Said::Is(row) => {
                        if let Said::Nothing(fault) = self.put_vpc(scope, &row).await? {
                            course.failed(fault)?;
                        }
                    }
                    // Its subnets are gone as well, and end what refers to them.
                    Said::Gone => {}
                    Said::Nothing(fault) => course.failed(fault)?,
                }
            }
        }
        Ok(())
    }

    async fn refresh_subnets(
        &self,
        scope: &Scope,
        stored: &Stored,
        wanted: &Wanted,
        course: &mut Course,
    ) -> Result<(), Ended> {
        let own: BTreeSet<&SubnetId> = own(&stored.subnets, |subnet| subnet.mirrored, |subnet| &subnet.id);
        let ids: Vec<&SubnetId> = wanted.subnets.iter().filter(|id| !own.contains(id)).collect();
        for ids in ids.chunks(MAX_IDS) {
            let pairs = filter("subnet-id", ids.iter().map(|id| id.as_str()), 1);
            let answer =
                self.list(scope.region.as_str(), "DescribeSubnets", &pairs, "subnetSet", rows::subnet).await;
            let Some(rows) = course.answered(answer)? else { continue };
            let rows: BTreeMap<SubnetId, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
            for id in ids {
                let Some(said) = course.said(&rows, *id, self.ask_subnet(scope, id)).await else { continue };
                match said {
                    Said::Is(row) => self.put_subnet(scope, &row).await?,
                    Said::Gone => {
                        // So that its copy goes with the last association, and serves nobody once more.
                        self.remembered.keep(scope, &Neighbour::Subnet((*id).clone()), &Outcome::Gone);
                        self.end_associations(scope, id).await?;
                    }
                    Said::Nothing(fault) => course.failed(fault)?,
                }
            }
        }
        Ok(())
    }

    async fn refresh_groups(
        &self,
        scope: &Scope,
        stored: &Stored,
        wanted: &Wanted,
        course: &mut Course,
    ) -> Result<(), Ended> {
        let own: BTreeSet<&SecurityGroupId> = own(&stored.groups, |group| group.mirrored, |group| &group.id);
        let ids: Vec<&SecurityGroupId> = wanted.groups.iter().filter(|id| !own.contains(id)).collect();
        for ids in ids.chunks(MAX_IDS) {
            let pairs = filter("group-id", ids.iter().map(|id| id.as_str()), 1);
            let (action, list) = ("DescribeSecurityGroups", "securityGroupInfo");
            let answer = self.list(scope.region.as_str(), action, &pairs, list, rows::group).await;
            let Some(rows) = course.answered(answer)? else { continue };
            let rows: BTreeMap<SecurityGroupId, _> =
                rows.into_iter().map(|row| (row.id.clone(), row)).collect();
            let (lists, failures) = self.lists_of(scope, rows.values()).await?;
            course.failures.extend(failures);
            for id in ids {
                let listed = rows.contains_key(id);
                let Some(said) = course.said(&rows, *id, self.ask_group(scope, id)).await else { continue };
                match said {
                    Said::Is(row) if listed => self.put_group(scope, &row, &lists).await?,
                    Said::Is(row) => self.put_group_alone(scope, &row).await?,
                    Said::Gone => {
                        if let Some(copy) = stored.groups.iter().find(|group| group.value.id == **id) {
                            tracing::warn!(group = %id, "a security group is gone: it lets nothing out");
                            self.drop_copy(copy).await?;
                        }
                    }
                    Said::Nothing(fault) => course.failed(fault)?,
                }
            }
        }
        Ok(())
    }

    async fn refresh_certificates(
        &self,
        scope: &Scope,
        stored: &Stored,
        wanted: &Wanted,
        course: &mut Course,
    ) -> Result<(), Ended> {
        // One that is gone keeps its copy, as the service deletes none that is used.
        for copy in stored.certificates.iter().map(|record| &record.value).filter(|copy| copy.mirrored) {
            let with_key = wanted.server_certificates.contains(&copy.arn);
            if !(with_key || wanted.certificates.contains(&copy.arn)) {
                continue;
            }
            match self.copy_certificate(scope, &copy.arn, with_key).await {
                Ok(Said::Nothing(fault)) => course.failed(fault)?,
                Ok(Said::Is(()) | Said::Gone) => {}
                Err(_) => course.failures.push(format!("{} cannot be copied", copy.arn)),
            }
        }
        Ok(())
    }

    /// Marks every association of a subnet that is gone.
    async fn end_associations(&self, scope: &Scope, subnet: &SubnetId) -> Result<(), StoreError> {
        let associations: Vec<Record<Association>> =
            typed::list(self.store.as_ref(), &prefix::of(scope, Kind::Association)).await?.0;
        for association in associations {
            let Association { id, endpoint, spec, .. } = &association.value;
            if spec.subnet_id() == Some(subnet) && !is_ending(association.value.status.code) {
                if self.end(scope, &association.value).await? {
                    tracing::warn!(%endpoint, association = %id, %subnet, "the subnet is gone: its association ends");
                    counter!("bascule_networks_associations_ended_total").increment(1);
                } else {
                    tracing::warn!(%endpoint, association = %id, %subnet, "an association could not be ended yet");
                }
            }
        }
        Ok(())
    }

    /// Whether the association has been marked, by this or by somebody else.
    async fn end(&self, scope: &Scope, of: &Association) -> Result<bool, StoreError> {
        let store = self.store.as_ref();
        let why = of.spec.subnet_id().map(|id| format!("The subnet {id} does not exist any more"));
        for _ in 0..MAX_ATTEMPTS {
            let under = |kind| prefix::under(scope, kind, &of.endpoint);
            let endpoint: Option<Record<Endpoint>> =
                typed::get(store, Key::endpoint(scope, &of.endpoint).as_str()).await?;
            let associations: Vec<Record<Association>> =
                typed::list(store, &under(Kind::Association)).await?.0;
            let routes: Vec<Record<Route>> = typed::list(store, &under(Kind::Route)).await?.0;
            let association = associations.iter().find(|record| record.value.id == of.id);
            let (Some(endpoint), Some(association)) = (&endpoint, association) else { return Ok(true) };
            if is_ending(association.value.status.code) {
                return Ok(true);
            }
            let leaving = Leaving { endpoint, associations: &associations, routes: &routes };
            let draft = leaving.draft(association, why.as_deref());
            if matches!(store.transact(draft.into_transaction()).await?, Written::Committed(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes copies that no endpoint refers to and nobody has asked for lately.
    async fn sweep(&self, scope: &Scope) -> Result<(), StoreError> {
        let stored = self.stored_of(scope).await?;
        let wanted = stored.wanted();
        let idle = |of: Neighbour| !self.remembered.in_use(scope, &of);
        for vpc in stored.vpcs.iter().filter(|vpc| vpc.value.mirrored) {
            let id = &vpc.value.id;
            if !wanted.vpcs.contains(id) && idle(Neighbour::Vpc(id.clone())) {
                self.drop_copy(vpc).await?;
            }
        }
        let kept: BTreeSet<&SecurityGroupId> =
            stored.vpcs.iter().map(|vpc| &vpc.value.default_security_group).collect();
        for subnet in stored.subnets.iter().filter(|subnet| subnet.value.mirrored) {
            let id = &subnet.value.id;
            if !wanted.subnets.contains(id) && idle(Neighbour::Subnet(id.clone())) {
                self.drop_copy(subnet).await?;
            }
        }
        for group in stored.groups.iter().filter(|group| group.value.mirrored) {
            let id = &group.value.id;
            if !wanted.groups.contains(id) && !kept.contains(id) && idle(Neighbour::Group(id.clone())) {
                self.drop_copy(group).await?;
            }
        }
        for certificate in stored.certificates.iter().filter(|certificate| certificate.value.mirrored) {
            let arn = &certificate.value.arn;
            let used = wanted.certificates.contains(arn) || wanted.server_certificates.contains(arn);
            if !used
                && idle(Neighbour::Certificate(arn.clone()))
                && idle(Neighbour::ServerCertificate(arn.clone()))
            {
                self.drop_copy(certificate).await?;
            }
        }
        Ok(())
    }
}

impl Stored {
    fn wanted(&self) -> Wanted {
        let subnets = self.subnets.iter().map(|record| (record.value.id.clone(), &record.value)).collect();
        let vpcs = self.vpcs.iter().map(|record| (record.value.id.clone(), &record.value)).collect();
        Wanted::of(
            self.endpoints.iter().map(|record| &record.value),
            self.associations.iter().map(|record| &record.value),
            &subnets,
            &vpcs,
        )
    }
}

impl Course {
    fn start() -> Self {
        Self {
            failures: Vec::new(),
            questions_left: MAX_SINGLE_QUESTIONS,
            ends_at: Instant::now() + SINGLE_QUESTIONS_TIMEOUT,
        }
    }

    /// The rows of an answer; `None`: the service refused.
    fn answered<T>(&mut self, answer: Result<T, Fault>) -> Result<Option<T>, Ended> {
        match answer {
            Ok(rows) => Ok(Some(rows)),
            Err(fault) => self.failed(fault).map(|()| None),
        }
    }

    /// Notes what was not answered. No answer at all stops the region.
    fn failed(&mut self, fault: Fault) -> Result<(), Ended> {
        self.failures.push(fault.to_string());
        match fault {
            Fault::Away(_) => Err(Ended::Stopped),
            Fault::Unclear(_) | Fault::Refused { .. } => Ok(()),
        }
    }

    /// What is said of an id: its row among those listed, else what `ask` learns of it alone; `None` if no more may be asked.
    async fn said<K: Ord, R: Clone>(
        &mut self,
        listed: &BTreeMap<K, R>,
        id: &K,
        ask: impl Future<Output = Said<R>>,
    ) -> Option<Said<R>> {
        match listed.get(id) {
            Some(row) => Some(Said::Is(row.clone())),
            None if !self.may_ask() => None,
            None => Some(ask.await),
        }
    }

    /// Whether one more question about a single id may be asked.
    fn may_ask(&mut self) -> bool {
        let left = self.questions_left;
        self.questions_left = left.saturating_sub(1);
        left > 0 && Instant::now() < self.ends_at
    }
}

/// Why a region's refresh ended early.
enum Ended {
    /// The upstream does not answer: the rest of the region is not asked for now.
    Stopped,
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Ids of the records that were made here.
fn own<'r, T, I: Ord>(
    records: &'r [Record<T>],
    mirrored: impl Fn(&T) -> bool,
    id: impl Fn(&'r T) -> &'r I,
) -> BTreeSet<&'r I> {
    records.iter().map(|record| &record.value).filter(|value| !mirrored(value)).map(id).collect()
}

fn is_ending(code: AssociationCode) -> bool {
    matches!(code, AssociationCode::Disassociating | AssociationCode::Disassociated)
}
