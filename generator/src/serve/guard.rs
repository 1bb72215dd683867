//! What every request must fulfil before anything else sees it.
//!
//! - Its `Host` is this server's address or `localhost` with its port. A page of another site that had its name resolve
//!   to 127.0.0.1 (DNS rebinding) sends its own name.
//! - It carries the token: the page in its query, because a browser can send nothing else when it opens an address;
//!   everything else in a header. A cookie would come with requests that other pages cause, and would be sent to servers
//!   on other ports of this machine.
//! - If it has an `Origin`, that is this server's; one that changes something must have it.

use std::net::SocketAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, Uri};

use super::token::Token;

/// The header that carries the token.
pub const TOKEN: HeaderName = HeaderName::from_static("x-nixvol-token");
/// The header by which a browser tells where a request comes from.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Decides on requests.
pub struct Guard {
    hosts: Vec<String>,
    token: Token,
}

impl Guard {
    /// The guard of a server that listens at an address.
    pub fn new(address: SocketAddr, token: Token) -> Self {
        let mut hosts = vec![address.to_string(), format!("localhost:{}", address.port())];
        if address.port() == 80 {
            // A browser leaves out the port that http has by default.
            let ip = address.ip();
            hosts.extend([
                if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() },
                "localhost".to_owned(),
            ]);
        }
        Self { hosts, token }
    }

    /// Why a request is refused; the text does not help one who guesses.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
        let host = only(headers, &HOST).and_then(|host| self.hosts.iter().find(|known| *known == host));
        let Some(host) = host else {
            return Err("the request is for another host");
        };
        if uri.authority().is_some_and(|authority| authority.as_str() != host) {
            return Err("the request is for another host");
        }
        let is_page = uri.path() == "/";
        let token = if is_page {
            uri.query().and_then(|query| query.strip_prefix("token="))
        } else {
            only(headers, &TOKEN)
        };
        if !token.is_some_and(|token| self.token.is(token.as_bytes())) {
            return Err("the token is missing or wrong: open the address that `nixvol-net serve` printed");
        }
        let is_own = || only(headers, &ORIGIN).and_then(|it| it.strip_prefix("http://")) == Some(host);
        let origin = headers.contains_key(ORIGIN).then(is_own);
        let is_read = method == Method::GET || method == Method::HEAD;
        if origin == Some(false) || (origin.is_none() && !is_read) {
            return Err("the request comes from another site");
        }
        let is_foreign =
            headers.get_all(FETCH_SITE).iter().any(|site| site != "same-origin" && site != "none");
        if is_foreign && !is_page {
            return Err("the request comes from another site");
        }
        Ok(())
    }
}

/// The value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    if all.next().is_some() { None } else { first.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let token = Token::new().expect("a token");
        let secret = token.text().to_owned();
        let guard = Guard::new("127.0.0.1:4000".parse().expect("an address"), token);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, value.replace("TOKEN", &secret).parse().expect("a value"));
        }
        let uri: Uri = uri.replace("TOKEN", &secret).parse().expect("an address");
        guard.check(&method.parse().expect("a method"), &uri, &map)
    }

    const HOME: (&str, &str) = ("host", "127.0.0.1:4000");
    const KEY: (&str, &str) = ("x-nixvol-token", "TOKEN");
    const OWN: (&str, &str) = ("origin", "http://127.0.0.1:4000");

    #[test]
    fn requests_of_the_page_pass() {
        assert_eq!(check("GET", "/?token=TOKEN", &[HOME]), Ok(()));
        assert_eq!(check("GET", "/?token=TOKEN", &[("host", "localhost:4000")]), Ok(()));
        assert_eq!(check("GET", "/events", &[HOME, KEY, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(check("POST", "/fault", &[HOME, KEY, OWN]), Ok(()));
    }

    #[test]
    fn a_wrong_host_is_refused() {
        let hosts = [
            "evil.example",
            "evil.example:4000",
            "127.0.0.1",
            "127.0.0.1:4001",
            "127.0.0.1:4000.evil.example",
            "[::1]:4000",
            "",
        ];
        for host in hosts {
            assert!(check("GET", "/?token=TOKEN", &[("host", host)]).is_err(), "{host}");
        }
        assert!(check("GET", "/?token=TOKEN", &[]).is_err());
        assert!(check("GET", "/?token=TOKEN", &[HOME, ("host", "evil.example")]).is_err());
        assert!(check("GET", "http://evil.example/?token=TOKEN", &[HOME]).is_err());
    }

    #[test]
    fn a_token_in_the_wrong_place_is_refused() {
        assert!(check("GET", "/", &[HOME]).is_err());
        assert!(check("GET", "/", &[HOME, KEY]).is_err());
        assert!(check("GET", "/?token=", &[HOME]).is_err());
        assert!(check("GET", "/?token=0&token=TOKEN", &[HOME]).is_err());
        assert!(check("GET", "/state?token=TOKEN", &[HOME]).is_err());
        assert!(check("GET", "/state", &[HOME, ("cookie", "token=TOKEN")]).is_err());
        assert!(check("GET", "/state", &[HOME, KEY, KEY]).is_err());
    }

    #[test]
    fn a_request_of_another_site_is_refused() {
        for origin in [
            "http://evil.example",
            "https://127.0.0.1:4000",
            "http://127.0.0.1:4001",
            "http://localhost:4000",
            "null",
        ] {
            assert!(check("POST", "/fault", &[HOME, KEY, ("origin", origin)]).is_err(), "{origin}");
            assert!(check("GET", "/state", &[HOME, KEY, ("origin", origin)]).is_err(), "{origin}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            assert!(check(method, "/fault", &[HOME, KEY]).is_err(), "{method}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(check("GET", "/state", &[HOME, KEY, ("sec-fetch-site", site)]).is_err(), "{site}");
        }
    }
}
