//! Lists: their parameters, selectors and pages.
//!
//! Without `limit` a list is whole, as with Kubernetes: a client that does not know of pages never takes a
//! part for the whole. What goes on is told by `metadata.continue`, whose text is nobody's business but ours.

use api_types::api::{List, ListMeta};
use api_types::selector::{FieldSelector, LabelSelector, Selectable};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ApiResult;
use super::extract::bad_request;
use crate::store::ListQuery;

/// Most objects of one page.
pub(super) const MAX_PAGE: i64 = 1000;
/// Longest text of `continue`.
const MAX_CONTINUE: usize = 1024;
/// First byte of the text inside `continue`: another one is from another release.
const CONTINUE_VERSION: char = '1';

/// Parameters of a list of objects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListParams {
    /// Most objects of the answer, 1 to 1000; all when absent. When there are more, `metadata.continue` is set.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<i64>,
    /// The `metadata.continue` of the page before; send the same selectors as for that one.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    /// Only objects with these labels: `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key`, `!key`, joined by commas.
    label_selector: Option<String>,
    /// Only objects with these fields: `field=value` or `field!=value`, joined by commas. Fields: `metadata.name`; for apps also
    /// `spec.image` and conditions, such as `status.ready=False`; for domains `spec.app`; for nodes `status.role`, `status.state`
    /// and `status.availability`.
    field_selector: Option<String>,
}

/// Parameters of a list of objects that can be watched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WatchParams {
    /// Most objects of the answer, 1 to 1000; all when absent. When there are more, `metadata.continue` is set.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<i64>,
    /// The `metadata.continue` of the page before; send the same selectors as for that one.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    /// Only objects with these labels: `key=value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, `key`, `!key`, joined by commas.
    label_selector: Option<String>,
    /// Only objects with these fields: `field=value` or `field!=value`, joined by commas. Fields: `metadata.name`; for apps also
    /// `spec.image` and conditions, such as `status.ready=False`; for domains `spec.app`; for nodes `status.role`, `status.state`
    /// and `status.availability`.
    field_selector: Option<String>,
    /// Go on with changes, as server-sent events, until the client closes the answer.
    #[serde(default)]
    pub(super) watch: bool,
    /// With `watch`: begin with what changed after this, the `metadata.resourceVersion` of a list or the `id` of an event, not with
    /// everything. Too old a one is refused with 410.
    pub(super) resource_version: Option<String>,
}

impl WatchParams {
    /// What the store is to be asked for a list.
    pub(super) fn query(&self, selectable: Selectable) -> ApiResult<ListQuery> {
        if self.resource_version.is_some() && !self.watch {
            return Err(bad_request("resourceVersion goes with watch=true"));
        }
        if self.watch && (self.limit.is_some() || self.continue_token.is_some()) {
            return Err(bad_request("a watch has no pages: leave limit and continue out"));
        }
        let Self { limit, continue_token, label_selector, field_selector, .. } = self;
        let list = ListParams {
            limit: *limit,
            continue_token: continue_token.clone(),
            label_selector: label_selector.clone(),
            field_selector: field_selector.clone(),
        };
        list.query(selectable)
    }
    /// Whether the answer is the first page: a watch after a list in pages begins where the first one was read.
    pub(super) fn is_first_page(&self) -> bool {
        self.continue_token.is_none()
    }
}

/// Parameters of a list that cannot be selected from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PageParams {
    /// Most entries of the answer, 1 to 1000; all when absent. When there are more, `metadata.continue` is set.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<i64>,
    /// The `metadata.continue` of the page before.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

impl PageParams {
    pub(super) fn query(&self) -> ApiResult<ListQuery> {
        let limit = limit(self.limit)?.map(|limit| limit + 1);
        Ok(ListQuery { after: after(self.continue_token.as_deref())?, limit, ..ListQuery::default() })
    }
}

impl ListParams {
    /// What the store is to be asked: one object more than the page, to see whether there is one.
    pub(super) fn query(&self, selectable: Selectable) -> ApiResult<ListQuery> {
        let labels = self.label_selector.as_deref().unwrap_or_default().parse::<LabelSelector>();
        let fields = FieldSelector::parse(self.field_selector.as_deref().unwrap_or_default(), selectable);
        Ok(ListQuery {
            after: after(self.continue_token.as_deref())?,
            limit: limit(self.limit)?.map(|limit| limit + 1),
            labels: labels.map_err(|error| bad_request(error.to_string()))?,
            fields: fields.map_err(|error| bad_request(error.to_string()))?,
        })
    }
}

/// Checks the size of a page.
pub(super) fn limit(asked: Option<i64>) -> ApiResult<Option<i64>> {
    match asked {
        Some(limit) if !(1..=MAX_PAGE).contains(&limit) => Err(bad_request(format!("limit must be from 1 to {MAX_PAGE}"))),
        asked => Ok(asked),
    }
}

/// The key inside a `continue`.
pub(super) fn after(token: Option<&str>) -> ApiResult<Option<String>> {
    let err = || bad_request("continue must be what metadata.continue of the page before said");
    let Some(token) = token else { return Ok(None) };
    if token.len() > MAX_CONTINUE {
        return Err(err());
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(err)?;
    // PostgreSQL has no NUL in its texts.
    text.strip_prefix(CONTINUE_VERSION).filter(|key| !key.contains('\0')).map(|key| Some(key.to_owned())).ok_or_else(err)
}

/// A `continue` that goes on after a key.
pub(super) fn continue_after(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{CONTINUE_VERSION}{key}"))
}

/// Makes a page of what a query found.
pub(super) fn page<T>(mut items: Vec<T>, query: &ListQuery, key: impl Fn(&T) -> String) -> List<T> {
    let fits = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit - 1).unwrap_or(usize::MAX));
    let more = items.len() > fits;
    items.truncate(fits);
    let continue_token = items.last().filter(|_| more).map(|last| continue_after(&key(last)));
    List { metadata: ListMeta { continue_token, resource_version: None }, items }
}

/// Selects and pages objects of a kind of which there are few, all read.
pub(super) fn page_of_all<T: Serialize>(items: Vec<T>, query: &ListQuery, key: impl Fn(&T) -> String) -> List<T> {
    let selected = |item: &T| {
        if query.labels.is_empty() && query.fields.is_empty() {
            return true;
        }
        let json = serde_json::to_value(item).unwrap_or_default();
        query.labels.matches_json(json.pointer("/metadata/labels").unwrap_or(&serde_json::Value::Null)) && query.fields.matches_json(&json)
    };
    let mut keyed: Vec<(String, T)> = items.into_iter().filter(selected).map(|item| (key(&item), item)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let most = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let rest = keyed.into_iter().filter(|(key, _)| query.after.as_ref().is_none_or(|after| key > after));
    page(rest.take(most).map(|(_, item)| item).collect(), query, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once_although_objects_come_and_go() {
        let mut names: Vec<String> = ["b", "d", "f", "h", "j"].map(str::to_owned).to_vec();
        let (mut seen, mut next) = (Vec::new(), None);
        for round in 0.. {
            let query = ListQuery { after: after(next.as_deref()).expect("ours"), limit: Some(3), ..ListQuery::default() };
            let list = page_of_all(names.clone(), &query, String::clone);
            assert!(list.items.len() <= 2);
            seen.extend(list.items);
            next = list.metadata.continue_token;
            // What is made before, deleted before, and made after the place where we are.
            names.retain(|name| name != "b");
            names.extend([format!("a{round}"), "g".to_owned()].into_iter().filter(|name| round == 0 || name.starts_with('a')));
            if next.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["b", "d", "f", "g", "h", "j"]);
    }

    #[test]
    fn a_page_that_ends_with_the_last_object_does_not_go_on() {
        let query = ListQuery { limit: Some(3), ..ListQuery::default() };
        let list = page_of_all(vec!["a".to_owned(), "b".to_owned()], &query, String::clone);
        assert_eq!((list.items.len(), list.metadata.continue_token), (2, None));
    }

    #[test]
    fn a_continue_that_is_not_ours_is_refused() {
        for token in ["", "x", "!!!!", "MmE", &"A".repeat(2000), &URL_SAFE_NO_PAD.encode([b'1', 0xff]), &URL_SAFE_NO_PAD.encode("1a\0b")] {
            assert!(after(Some(token)).is_err(), "{token}");
        }
        assert_eq!(after(Some(&continue_after("shop"))).ok().flatten().as_deref(), Some("shop"));
    }
}
