//! `DescribeTags` (spec: aws-client-vpn §2.0.6): the tags of everything that has some.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::Scope;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::error::ApiError;
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::taggable::TAGGABLE;
use crate::touch::Touch;

const FILTERS: &[&str] = &["key", "resource-id", "resource-type", "value"];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeTags {
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    next_token: Option<String>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    next_token: Option<String>,
    #[xml(name = "tagSet")]
    tags: Vec<Row>,
}

#[derive(ToXml)]
struct Row {
    key: String,
    resource_id: String,
    resource_type: &'static str,
    value: String,
}

#[async_trait]
impl Action for DescribeTags {
    const NAME: &'static str = "DescribeTags";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        // By place: the page's key must rise and be its row's own.
        let mut rows: Vec<(String, Row)> = Vec::new();
        for of in TAGGABLE {
            for (id, tags) in cx.tags(of).await? {
                for (key, value) in &tags {
                    let facets = vec![
                        ("key", vec![key.as_str()]),
                        ("resource-id", vec![id.as_str()]),
                        ("resource-type", vec![of.resource]),
                        ("value", vec![value.as_str()]),
                    ];
                    if filters.pass(&facets, &[(key.clone(), value.clone())].into()) {
                        let row = Row {
                            key: key.clone(),
                            resource_id: id.clone(),
                            resource_type: of.resource,
                            value: value.clone(),
                        };
                        rows.push((format!("{id}/{key}"), row));
                    }
                }
            }
        }
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (rows, next_token) =
            page(rows, |(place, _)| place, self.next_token.as_deref(), self.max_results)?;
        Ok(Decision::read(Answer { next_token, tags: rows.into_iter().map(|(_, row)| row).collect() }))
    }
}
