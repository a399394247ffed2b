//! What a stranger without a password must see of an app whose edge stops strangers. Pure.

use api_types::kinds::edge::EdgeSpec;

/// An answer of the edge, as far as it tells who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The proxy has no route for the host.
    pub(super) no_route: bool,
    pub(super) location: Option<String>,
    /// Our own page's word, when it is one.
    pub(super) page: Option<String>,
}

/// What stops strangers, outermost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gate {
    allow_list: bool,
    redirect: bool,
    maintenance: bool,
    password: bool,
}

/// The gate of an app.
pub(super) fn of(edge: &EdgeSpec, https: bool) -> Gate {
    Gate {
        allow_list: !edge.allow_from.is_empty(),
        redirect: https && edge.redirects(),
        maintenance: edge.maintenance().is_some(),
        password: edge.basic_auth.is_some(),
    }
}

impl Gate {
    /// Whether our own request from outside would not reach the app.
    pub(super) fn stops_somebody(self) -> bool {
        self.allow_list || self.redirect || self.maintenance || self.password
    }

    /// Whether the answer to a request by plain HTTP without a password is the right one, and what it was.
    pub(super) fn check(self, asked: &str, answer: &Answer) -> Result<String, String> {
        let got = format!("{asked} answered {}", answer.status);
        if answer.no_route {
            return Err(format!("{got}: the edge has no route for this host"));
        }
        // Our own address may or may not be on the list; nobody else's answer is 403 before the app.
        if self.allow_list && answer.status == 403 {
            return Ok(format!("{got} to an address that is not in spec.edge.allowFrom"));
        }
        let location = answer.location.as_deref().unwrap_or_default();
        match () {
            () if self.redirect => match answer.status {
                301 | 302 | 307 | 308 if location.starts_with("https://") => Ok(format!("plain HTTP is redirected ({})", answer.status)),
                _ => Err(format!("{got}, not a redirect to HTTPS as spec.edge.https asks")),
            },
            () if self.maintenance => match (answer.status, answer.page.as_deref()) {
                (503, Some("maintenance")) => Ok("the maintenance page is served (503)".to_owned()),
                _ => Err(format!("{got}, not the maintenance page")),
            },
            () if self.password => match answer.status {
                401 => Ok("a password is asked for (401)".to_owned()),
                _ => Err(format!("{got} without a password; 401 was expected")),
            },
            () => match answer.status {
                502..=504 => Err(got),
                _ => Ok(got),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(edge: serde_json::Value) -> Gate {
        of(&serde_json::from_value(edge).expect("valid"), true)
    }
    fn answer(status: u16) -> Answer {
        Answer { status, no_route: false, location: None, page: None }
    }

    #[test]
    fn what_lets_strangers_through_is_no_proof() {
        let auth = gate(serde_json::json!({"basicAuth": {"users": {"ana": {}}}}));
        assert!(auth.check("GET /", &answer(401)).is_ok());
        for status in [200, 404, 503, 403] {
            assert!(auth.check("GET /", &answer(status)).is_err(), "{status}");
        }
        let page = gate(serde_json::json!({"maintenance": {}}));
        assert!(page.check("GET /", &answer(503)).is_err(), "an app's own 503 is not the page");
        assert!(page.check("GET /", &Answer { page: Some("maintenance".to_owned()), ..answer(503) }).is_ok());
        let redirect = gate(serde_json::json!({"https": {"redirect": true}, "maintenance": {}}));
        assert!(redirect.check("GET /", &answer(301)).is_err());
        assert!(redirect.check("GET /", &Answer { location: Some("https://a.example/".to_owned()), ..answer(301) }).is_ok());
        let list = gate(serde_json::json!({"allowFrom": ["192.0.2.0/24"], "basicAuth": {"users": {"ana": {}}}}));
        assert!(list.check("GET /", &answer(403)).is_ok() && list.check("GET /", &answer(401)).is_ok());
        assert!(list.check("GET /", &answer(200)).is_err());
        assert!(list.check("GET /", &Answer { no_route: true, ..answer(404) }).is_err());
    }

    #[test]
    fn what_stops_nobody_is_no_gate() {
        assert!(!gate(serde_json::json!({"sticky": {}, "maxRequestBody": "1Mi", "maintenance": {"enabled": false}})).stops_somebody());
        let redirect: EdgeSpec = serde_json::from_value(serde_json::json!({"https": {"redirect": true}})).expect("valid");
        assert!(!of(&redirect, false).stops_somebody(), "without HTTPS nothing is redirected");
    }
}
