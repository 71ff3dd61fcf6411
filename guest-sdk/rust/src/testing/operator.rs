//! A piece of a job in a test: elements in, elements out, one at a time.

use super::cluster::{Cluster, Settings};
use crate::collector::Collector;
use crate::element::Owned;
use crate::error::Result;
use crate::operator::source::{SourceFunction, SourceStatus};
use crate::stream::data_stream::DataStream;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Runs some operators natively, such as one process function.
///
/// ```
/// use heddle::prelude::*;
/// use heddle::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::<(String, u64), (String, u64)>::new(|records| {
///     records.key_by::<String>(|r| r.0.clone()).sum(|r| r.1)
/// })
/// .unwrap();
/// harness.push(("a".into(), 2)).unwrap();
/// harness.push(("b".into(), 1)).unwrap();
/// assert_eq!(harness.push(("a".into(), 3)).unwrap(), [("a".to_string(), 5)]);
/// ```
pub struct OperatorHarness<T, U> {
    cluster: Cluster,
    input: Rc<RefCell<VecDeque<T>>>,
    output: Rc<RefCell<Vec<U>>>,
}

struct Queue<T>(Rc<RefCell<VecDeque<T>>>);

impl<T: Owned> SourceFunction<T> for Queue<T> {
    fn poll(&mut self, out: &mut Collector<'_, T>) -> Result<SourceStatus> {
        while let Some(value) = self.0.borrow_mut().pop_front() {
            out.collect(value);
        }
        Ok(SourceStatus::More)
    }
}

impl<T: Owned, U: Owned> OperatorHarness<T, U> {
    /// Puts what `pipeline` makes of a stream under test.
    pub fn new(pipeline: impl Fn(&DataStream<T>) -> DataStream<U>) -> Result<Self> {
        let input = Rc::new(RefCell::new(VecDeque::new()));
        let output = Rc::new(RefCell::new(Vec::new()));
        let (from, to) = (input.clone(), output.clone());
        let job = move |env: &mut crate::stream::environment::StreamExecutionEnvironment, _| {
            let to = to.clone();
            pipeline(&env.add_source(false, Queue(from.clone())))
                .for_each(move |value| to.borrow_mut().push(value));
            Ok(())
        };
        let cluster = Cluster::start(&job, &[], &Settings::default())?;
        Ok(Self { cluster, input, output })
    }

    /// Gives an element in; what came out because of it.
    pub fn push(&mut self, value: T) -> Result<Vec<U>> {
        self.push_all([value])
    }

    /// Gives elements in; what came out because of them.
    pub fn push_all(&mut self, values: impl IntoIterator<Item = T>) -> Result<Vec<U>> {
        self.input.borrow_mut().extend(values);
        self.cluster.poll()?;
        self.cluster.flush()?;
        Ok(self.output.take())
    }

    /// Ends the input; what came out because of it.
    pub fn finish(mut self) -> Result<Vec<U>> {
        self.cluster.finish()?;
        Ok(self.output.take())
    }

    /// The sum of a counter so far.
    pub fn counter(&self, name: &str) -> i64 {
        self.cluster.counters.borrow().get(name).copied().unwrap_or_default()
    }
}
