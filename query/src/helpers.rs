//! Threads that help a fragment through its shards: few a node, shared by all fragments that run there.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places for helping threads. Clones share them. Whoever finds none free does the work alone.
#[derive(Clone, Debug, Default)]
pub struct Helpers(Arc<AtomicUsize>);

impl Helpers {
    /// At most `count` threads help at a time.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }

    /// Nobody helps.
    pub fn none() -> Self {
        Self::default()
    }

    /// Places that are free now.
    pub fn free_count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `job` on up to `most` other threads, on as many as have a place. It may begin late or, where the process has no
    /// thread for it, never: nobody may wait for a job that has not begun.
    pub(crate) fn run(&self, most: usize, job: impl Fn() + Clone + Send + 'static) {
        for _ in 0..most {
            let Some(place) = self.take() else { return };
            let job = job.clone();
            let work = move || {
                // All that the job holds is gone by the time its place is free.
                let (place, job) = (place, job);
                job();
                drop(job);
                drop(place);
            };
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(work)),
                // Without a thread the place is given back, since `work` is dropped.
                Err(_) => drop(std::thread::Builder::new().name("query-helper".to_owned()).spawn(work)),
            }
        }
    }

    fn take(&self) -> Option<Place> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1));
        taken.is_ok().then(|| Place(self.clone()))
    }
}

/// Free again once it is dropped.
#[derive(Debug)]
struct Place(Helpers);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let helpers = Helpers::new(2);
        let ((began, begun), (go, wait)) = (mpsc::channel(), mpsc::channel::<()>());
        let wait = Arc::new(std::sync::Mutex::new(wait));
        helpers.run(5, move || {
            began.send(()).unwrap();
            assert!(wait.lock().unwrap().recv().is_err());
        });
        (0..2).for_each(|_| begun.recv().unwrap());
        assert_eq!(helpers.free_count(), 0);
        drop(go);
        // The last sender is gone once all jobs have ended, and only two had begun.
        assert!(begun.recv().is_err());
        while helpers.free_count() < 2 {
            std::thread::yield_now();
        }
        helpers.run(0, || ());
        assert_eq!(Helpers::none().free_count(), 0);
    }
}
