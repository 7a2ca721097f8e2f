//! What an action is. The frame owns everything around it: an action never sees HTTP, text, permissions, `DryRun` or
//! `ClientToken`, and cannot write but by handing back one draft.

use async_trait::async_trait;
use model::Scope;

use crate::cx::Cx;
use crate::draft::Draft;
use crate::error::ApiError;
use crate::touch::Touch;

/// One action of a service: the request struct implements it.
#[async_trait]
pub(crate) trait Action: Send + Sync + Sized + 'static {
    /// AWS's name of the action.
    const NAME: &'static str;
    /// What it answers.
    type Answer: Send + 'static;

    /// Rules about values that need no store; asked before permission. Push every fault, in the order of the members.
    fn check(&self, _scope: &Scope, _faults: &mut Vec<ApiError>) {}

    /// Every resource touched, for permission (spec: aws-client-vpn §4.7). Empty: the action needs no permission.
    fn touches(&self) -> Vec<Touch>;

    /// The client token, of actions that have one.
    fn client_token(&self) -> Option<&str> {
        None
    }

    /// The endpoint on which only so many of these may run at once (spec: aws-client-vpn §6, concurrent operations).
    fn occupies(&self) -> Option<&str> {
        None
    }

    /// Reads and decides. May be asked again when the draft met a conflict.
    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Self::Answer>, ApiError>;
}

/// What an action decided.
pub(crate) struct Decision<A> {
    /// The answer, once the draft is committed.
    pub answer: A,
    /// What is written, in one transaction.
    pub draft: Draft,
    /// Whether the action is to be asked again once this much is written: work too large for one transaction.
    pub unfinished: bool,
}

impl<A> Decision<A> {
    /// Nothing is written.
    pub(crate) fn read(answer: A) -> Self {
        Self { answer, draft: Draft::default(), unfinished: false }
    }

    /// The draft is written.
    pub(crate) fn write(answer: A, draft: Draft) -> Self {
        Self { answer, draft, unfinished: false }
    }

    /// The draft is written, and there is more to do.
    pub(crate) fn step(answer: A, draft: Draft) -> Self {
        Self { answer, draft, unfinished: true }
    }
}

/// An action with its answer already in the service's own encoding.
#[async_trait]
pub(crate) trait AnyAction: Send + Sync {
    fn check(&self, scope: &Scope, faults: &mut Vec<ApiError>);
    fn touches(&self) -> Vec<Touch>;
    fn client_token(&self) -> Option<&str>;
    fn occupies(&self) -> Option<&str>;
    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<String>, ApiError>;
}

/// Joins an action and its service's encoder.
pub(crate) struct Encoded<A: Action> {
    pub action: A,
    pub encode: fn(&A::Answer) -> Result<String, ApiError>,
}

#[async_trait]
impl<A: Action> AnyAction for Encoded<A> {
    fn check(&self, scope: &Scope, faults: &mut Vec<ApiError>) {
        self.action.check(scope, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        self.action.touches()
    }

    fn client_token(&self) -> Option<&str> {
        self.action.client_token()
    }

    fn occupies(&self) -> Option<&str> {
        self.action.occupies()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<String>, ApiError> {
        let decision = self.action.run(cx).await?;
        let Decision { answer, draft, unfinished } = decision;
        Ok(Decision { answer: (self.encode)(&answer)?, draft, unfinished })
    }
}
