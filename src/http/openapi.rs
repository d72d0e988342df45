//! The API's own description.

use axum::body::Body;
use axum::http::{Response, header};

use super::segment::JSON;

/// OpenAPI 3.1; the tests hold it true.
const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`
pub(super) async fn document() -> Response<Body> {
    let mut answer = Response::new(Body::from(DOCUMENT));
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::http::{closed, open};

    #[test]
    fn it_has_every_route_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let methods = |(path, item): (&String, &Value)| {
            let methods: Vec<String> = item.as_object().expect("an item").keys().cloned().collect();
            methods.into_iter().map(|method| (path.clone(), method)).collect::<Vec<_>>()
        };
        let described: BTreeSet<(String, String)> = paths.iter().flat_map(methods).collect();
        let routes = closed().into_iter().chain(open());
        let served = routes.map(|(path, method, _)| (path.replace("{*", "{"), method.to_owned())).collect();
        assert_eq!(described, served);
    }
}
