//! Whose request it is: the `X-Scope-OrgID` header, or gRPC metadata of that name.
use std::sync::Arc;

use http::HeaderMap;
use trine_store::model::TENANT_BYTES_MAX;

use crate::error::ApiError;

/// Header and gRPC metadata key.
pub const TENANT_HEADER: &str = "x-scope-orgid";
/// Tenant of requests without the header, unless tenants are required.
pub const TENANT_DEFAULT: &str = "default";

/// The tenant of a request. Headers are the same for HTTP and gRPC.
pub fn tenant_of(headers: &HeaderMap, require_tenant: bool) -> Result<Arc<str>, ApiError> {
    let mut values = headers.get_all(TENANT_HEADER).iter();
    let Some(value) = values.next().filter(|v| !v.is_empty()) else {
        return if require_tenant { Err(ApiError::NoTenant) } else { Ok(Arc::from(TENANT_DEFAULT)) };
    };
    if values.next().is_some() {
        return Err(ApiError::BadTenant("multiple org IDs present".to_owned()));
    }
    let name = value.to_str().map_err(|_| ApiError::BadTenant("tenant ID is not ASCII".to_owned()))?;
    check_name(name)?;
    Ok(Arc::from(name))
}

/// Mimir's rules: at most 150 of `[A-Za-z0-9!_.*'()-]`, and neither `.` nor `..`.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    if name.contains('|') {
        return Err(ApiError::BadTenant(
            "multiple org IDs present: queries over several tenants are not supported".to_owned(),
        ));
    }
    if name.len() > TENANT_BYTES_MAX {
        return Err(ApiError::BadTenant("tenant ID is too long: max 150 characters".to_owned()));
    }
    if let Some((at, c)) = name.char_indices().find(|(_, c)| !c.is_ascii_alphanumeric() && !"!-_.*'()".contains(*c)) {
        return Err(ApiError::BadTenant(format!("tenant ID '{name}' contains unsupported character {c:?} at {at}")));
    }
    if name == "." || name == ".." {
        return Err(ApiError::BadTenant("tenant ID is '.' or '..'".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_tenant() {
        let of = |value: Option<&str>, required| {
            let mut headers = HeaderMap::new();
            if let Some(v) = value {
                headers.insert(TENANT_HEADER, v.parse().unwrap());
            }
            tenant_of(&headers, required).map(|t| t.to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(of(None, false).unwrap(), "default");
        assert_eq!(of(None, true).unwrap_err(), "no org id");
        assert_eq!(of(Some("team-a.x_(1)*'!"), true).unwrap(), "team-a.x_(1)*'!");
        for bad in ["a|b", "a/b", "..", "a b", &"x".repeat(151)] {
            assert!(of(Some(bad), false).is_err(), "{bad}");
        }
    }
}
