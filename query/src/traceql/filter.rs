//! Reduces one trace to the spans that a query matches, with what hangs around them.
use crate::error::Result;
use crate::traceql::eval::Plan;
use crate::traceql::model::SpanRow;
use crate::traceql::parser::parse;
use crate::traceql::trace::Trace;

/// Which spans of a trace to show. Depths are numbers of generations, `None` for any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// A TraceQL query of span sets.
    pub query: String,
    /// Show descendants of a match down to this many generations; 0 for none.
    pub match_depth: Option<u32>,
    /// Show ancestors of a match.
    pub keep_hierarchy: bool,
    /// With `keep_hierarchy`: up to this many generations.
    pub ancestor_depth: Option<u32>,
}

/// A filtered trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilteredTrace {
    /// By start.
    pub spans: Vec<SpanRow>,
    /// Some spans were left out.
    pub is_partial: bool,
}

/// Keeps the spans of one trace that the filter wants. Errors are those of [`super::search`]'s queries.
pub fn filter_trace(spans: Vec<SpanRow>, filter: &TraceFilter) -> Result<FilteredTrace> {
    let plan = Plan::new(&parse(&filter.query)?)?;
    let id = spans.first().and_then(|s| s.trace_id().try_into().ok()).unwrap_or_default();
    let Some(trace) = Trace::assemble(id, spans, plan.needs)? else {
        return Ok(FilteredTrace { spans: Vec::new(), is_partial: false });
    };
    let keep = kept(&trace, &plan.spans(&trace)?, filter);
    let is_partial = keep.contains(&false);
    let spans = trace.spans.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(span, _)| span.row).collect();
    Ok(FilteredTrace { spans, is_partial })
}

fn kept(trace: &Trace, matched: &[usize], filter: &TraceFilter) -> Vec<bool> {
    let within = |distance: Option<u32>, most: Option<u32>| distance.is_some_and(|d| most.is_none_or(|most| d <= most));
    let mut below: Vec<Option<u32>> = vec![None; trace.spans.len()];
    matched.iter().for_each(|&i| below[i] = Some(0));
    let mut above = below.clone();
    // `order` has parents before children.
    for &i in &trace.order {
        let from_parent = trace.spans[i].parent.and_then(|p| below[p]).map(|d| d + 1);
        below[i] = below[i].or(from_parent);
    }
    for &i in trace.order.iter().rev().filter(|_| filter.keep_hierarchy) {
        if let (Some(parent), Some(distance)) = (trace.spans[i].parent, above[i]) {
            above[parent] = Some(above[parent].map_or(distance + 1, |d| d.min(distance + 1)));
        }
    }
    let most_above = if filter.keep_hierarchy { filter.ancestor_depth } else { Some(0) };
    below.into_iter().zip(above).map(|(b, a)| within(b, filter.match_depth) || within(a, most_above)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traceql::tests::support::SpanBuilder;

    #[test]
    fn matches_with_generations_around_them() {
        // 1 - 2 - 3 - 4 - 5, and 6 below 1.
        let parents = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 1)];
        let spans: Vec<SpanRow> = parents.iter().map(|(id, p)| SpanBuilder::new(1, *id, *p, "a").build()).collect();
        let query = "{ span:id = \"0303030303030303\" }".to_owned();
        let kept = |match_depth, keep_hierarchy, ancestor_depth| -> Vec<u8> {
            let filter = TraceFilter { query: query.clone(), match_depth, keep_hierarchy, ancestor_depth };
            let filtered = filter_trace(spans.clone(), &filter).unwrap();
            assert!(filtered.is_partial);
            filtered.spans.iter().map(|s| s.span_id()[0]).collect()
        };
        assert_eq!(kept(Some(0), false, None), [3]);
        assert_eq!(kept(Some(1), false, None), [3, 4]);
        assert_eq!(kept(None, false, None), [3, 4, 5]);
        assert_eq!(kept(Some(0), true, None), [1, 2, 3]);
        assert_eq!(kept(Some(0), true, Some(1)), [2, 3]);
        assert_eq!(kept(Some(0), true, Some(0)), [3]);
        let all = TraceFilter { query: "{}".to_owned(), ..TraceFilter::default() };
        assert!(!filter_trace(spans.clone(), &all).unwrap().is_partial);
        assert!(filter_trace(Vec::new(), &all).unwrap().spans.is_empty());
        assert!(filter_trace(spans.clone(), &TraceFilter { query: "{ x }".to_owned(), ..all }).is_err());
    }
}
