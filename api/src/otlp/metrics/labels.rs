//! Labels of a series: those of its resource and scope, of its point, and what the metric adds.
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};

use crate::config::{OtlpConfig, TranslationStrategy};
use crate::otlp::names::label_name;
use crate::otlp::value::text_of;

/// Name and value, each name once.
pub(super) type Pairs = Vec<(String, String)>;

/// Attributes that become `job` and `instance`.
const IDENTIFYING: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];

/// Sets a label, whether or not it is there.
pub(super) fn set(pairs: &mut Pairs, name: &str, value: String) {
    match pairs.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value,
        None => pairs.push((name.to_owned(), value)),
    }
}

fn set_if_absent(pairs: &mut Pairs, name: &str, value: &str) {
    if !pairs.iter().any(|(n, v)| n == name && !v.is_empty()) {
        set(pairs, name, value.to_owned());
    }
}

/// What all series of a resource have.
#[derive(Clone, Debug, Default)]
pub(super) struct ResourceLabels {
    /// `job` and `instance`, as far as the resource says.
    pub(super) identity: Pairs,
    promoted: Pairs,
    /// Attributes for `target_info`; none when it would say nothing.
    pub(super) target_info: Pairs,
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    attributes.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.as_ref())
}

impl ResourceLabels {
    pub(super) fn of(attributes: &[KeyValue], config: &OtlpConfig) -> Self {
        let text = |key| attribute(attributes, key).map(text_of).filter(|t| !t.is_empty());
        let mut identity = Pairs::new();
        if let Some(name) = text("service.name") {
            let job = text("service.namespace").map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"));
            identity.push(("job".to_owned(), job));
        }
        if let Some(instance) = text("service.instance.id") {
            identity.push(("instance".to_owned(), instance));
        }
        let is_promoted = |key: &String| match config.promote_all_resource_attributes {
            true => !config.ignore_resource_attributes.contains(key),
            false => config.promote_resource_attributes.contains(key),
        };
        let is_identifying = |kv: &KeyValue| IDENTIFYING.contains(&kv.key.as_str());
        let strategy = config.translation_strategy;
        let promoted = labels_of(attributes.iter().filter(|kv| is_promoted(&kv.key)), strategy);
        let says_more = attributes.iter().any(|kv| !is_identifying(kv));
        let target_info = if says_more && !identity.is_empty() {
            let keep = config.keep_identifying_resource_attributes;
            labels_of(attributes.iter().filter(|kv| keep || !is_identifying(kv)), strategy)
        } else {
            Pairs::new()
        };
        Self { identity, promoted, target_info }
    }
}

/// Labels of a scope, if they are promoted.
pub(super) fn scope_labels(scope: Option<&InstrumentationScope>, schema_url: &str, config: &OtlpConfig) -> Pairs {
    if !config.promote_scope_metadata {
        return Pairs::new();
    }
    let none = InstrumentationScope::default();
    let scope = scope.unwrap_or(&none);
    let prefixed: Vec<KeyValue> =
        scope.attributes.iter().map(|kv| KeyValue { key: format!("otel_scope_{}", kv.key), ..kv.clone() }).collect();
    let mut pairs = labels_of(prefixed.iter(), config.translation_strategy);
    set(&mut pairs, "otel_scope_name", scope.name.clone());
    set(&mut pairs, "otel_scope_version", scope.version.clone());
    set(&mut pairs, "otel_scope_schema_url", schema_url.to_owned());
    pairs
}

/// Attributes as labels in key order; two that map to one label are joined with `;`.
pub(super) fn labels_of<'a>(attributes: impl Iterator<Item = &'a KeyValue>, strategy: TranslationStrategy) -> Pairs {
    let mut sorted: Vec<&KeyValue> = attributes.filter(|kv| kv.key != "__name__").collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut pairs = Pairs::new();
    for kv in sorted {
        let Some(name) = label_name(strategy, &kv.key) else { continue };
        let value = kv.value.as_ref().map(text_of).unwrap_or_default();
        match pairs.iter_mut().find(|(n, _)| *n == name) {
            Some((_, joined)) => {
                joined.push(';');
                joined.push_str(&value);
            }
            None => pairs.push((name, value)),
        }
    }
    pairs
}

/// A point's labels without the metric's name: its attributes, what is promoted, whose they are, the scope.
pub(super) fn point_labels(
    attributes: &[KeyValue],
    resource: &ResourceLabels,
    scope: &Pairs,
    strategy: TranslationStrategy,
) -> Pairs {
    let mut pairs = labels_of(attributes.iter(), strategy);
    resource.promoted.iter().for_each(|(name, value)| set_if_absent(&mut pairs, name, value));
    resource.identity.iter().chain(scope).for_each(|(name, value)| set(&mut pairs, name, value.clone()));
    pairs
}
