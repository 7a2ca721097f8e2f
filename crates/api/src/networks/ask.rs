//! Questions to the upstream, signed like what is forwarded, and bounded: in time, in bytes, in pages and in rows.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;

use super::Networks;
use crate::ec2::shapes::VERSION;
use crate::frame::Call;
use crate::upstream::{self, UpstreamFault};

/// Longest wait for one answer, if the setting of the upstream has no shorter one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most pages of one list.
const MAX_PAGES: usize = 50;
/// Most nodes of one document.
const MAX_NODES: u32 = 500_000;
/// Longest text of a refusal that is kept, characters.
const MAX_MESSAGE_CHARS: usize = 512;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Nobody answered in time, or what came is not an answer.
    #[error("{0}")]
    Away(String),
    /// An answer that leaves open what was asked.
    #[error("{0}")]
    Unclear(String),
    /// The service said no.
    #[error("the upstream server refused: {code} (HTTP {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The service's code.
        code: String,
        /// The service's words.
        message: String,
    },
}

impl Fault {
    fn garbled() -> Self {
        Self::Away(UpstreamFault::Garbled.to_string())
    }
}

/// Parameters.
pub(super) type Pairs = Vec<(String, String)>;

impl Networks {
    /// The rows of an EC2 list that `read` takes, of all pages.
    pub(super) async fn list<T>(
        &self,
        region: &str,
        action: &str,
        pairs: &Pairs,
        list: &str,
        read: impl Fn(Node<'_, '_>) -> Option<T> + Sync,
    ) -> Result<Vec<T>, Fault>
    where
        T: Send,
    {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut asked = pairs.clone();
            asked.extend(token.take().map(|token| ("NextToken".to_owned(), token)));
            let text = self.ec2(region, action, &asked).await?;
            let document = parse(&text)?;
            let root = document.root_element();
            if root.tag_name().name() != format!("{action}Response") {
                return Err(Fault::garbled());
            }
            let rows = child(root, list).ok_or_else(Fault::garbled)?;
            found.extend(items(rows).filter_map(&read));
            token = text_of(root, "nextToken");
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(Fault::Away(format!("{action}: more than {MAX_PAGES} pages")))
    }

    async fn ec2(&self, region: &str, action: &str, pairs: &Pairs) -> Result<String, Fault> {
        let all = [("Action", action), ("Version", VERSION)].into_iter();
        let all = all.chain(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let body = aws_query::encode(all);
        let kind = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let (status, text) = self.send(region, "ec2", &[kind], body).await?;
        if status == 200 {
            return Ok(text);
        }
        let document = parse(&text)?;
        let part = |name| {
            let of = |path: &[&str]| {
                let at = path.iter().try_fold(document.root_element(), |at, name| child(at, name));
                at.and_then(|at| text_of(at, name))
            };
            of(&["Errors", "Error"]).or_else(|| of(&["Error"])).unwrap_or_default()
        };
        Err(refused(status, part("Code"), &part("Message")))
    }

    /// A call of Certificate Manager.
    pub(super) async fn acm(&self, region: &str, action: &str, body: &Value) -> Result<Value, Fault> {
        let target = format!("{}{action}", crate::acm::TARGET_PREFIX);
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        let (status, text) = self.send(region, "acm", &headers, body.to_string()).await?;
        let answer: Value = serde_json::from_str(&text).map_err(|_| Fault::garbled())?;
        if status == 200 {
            return Ok(answer);
        }
        let part = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        // AWS may put a namespace before the code.
        let code = part("__type").rsplit('#').next().unwrap_or_default().to_owned();
        let message =
            Some(part("message")).filter(|text| !text.is_empty()).unwrap_or_else(|| part("Message"));
        Err(refused(status, code, &message))
    }

    async fn send(
        &self,
        region: &str,
        service: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<(u16, String), Fault> {
        let away = |fault: UpstreamFault| Fault::Away(fault.to_string());
        let upstream = self.upstream.as_ref();
        let to = upstream.url.destination(service, region).map_err(|_| away(UpstreamFault::Unreachable))?;
        let call = Call {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: Bytes::from(body),
            peer: IpAddr::from([127, 0, 0, 1]),
            secure: true,
        };
        let now = crate::clock::wall().0;
        let request = upstream::request(upstream, &to, &call, region, service, now)
            .map_err(|_| Fault::Away("the question cannot be signed".to_owned()))?;
        let exchange = async {
            // Never closed.
            let _place = self.questions.acquire().await;
            upstream.transport.send(&to, request).await
        };
        let limit = upstream.timeout.min(ANSWER_TIMEOUT);
        let answer = tokio::time::timeout(limit, exchange).await.unwrap_or(Err(UpstreamFault::TooSlow));
        let result = match &answer {
            Ok(answer) if answer.status().is_success() => "ok",
            Ok(_) => "refused",
            Err(_) => "none",
        };
        counter!("bascule_networks_questions_total", "result" => result).increment(1);
        let (head, body) = answer.map_err(away)?.into_parts();
        let text = String::from_utf8(body.to_vec()).map_err(|_| Fault::garbled())?;
        Ok((head.status.as_u16(), text))
    }
}

fn refused(status: u16, code: String, message: &str) -> Fault {
    if code.is_empty() {
        return Fault::garbled();
    }
    Fault::Refused { status, code, message: message.chars().take(MAX_MESSAGE_CHARS).collect() }
}

fn parse(text: &str) -> Result<Document<'_>, Fault> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|_| Fault::garbled())
}

/// The first element of that name directly inside.
pub(super) fn child<'a, 'i>(of: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    of.children().find(|node| node.is_element() && node.tag_name().name() == name)
}

/// The elements directly inside.
pub(super) fn items<'a, 'i>(of: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    of.children().filter(Node::is_element)
}

/// The text of an element directly inside, unless it is empty.
pub(super) fn text_of(of: Node<'_, '_>, name: &str) -> Option<String> {
    child(of, name)?.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// `NAME.1`, `NAME.2`…
pub(super) fn filter<'v>(name: &str, values: impl IntoIterator<Item = &'v str>, number: usize) -> Pairs {
    let mut pairs = vec![(format!("Filter.{number}.Name"), name.to_owned())];
    let values = values.into_iter().enumerate();
    pairs.extend(values.map(|(n, value)| (format!("Filter.{number}.Value.{}", n + 1), value.to_owned())));
    pairs
}
