//! The upstreams that stand for one upstream, each for one client alone: what it is shown differs between clients, so that they
//! can share no connection, session or list of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::gateway::client::{ClientKey, ClientName, Holding, who_makes_room};
use crate::gateway::person::Person;

/// Clients that one upstream has connections for; beyond, the client that has most gives up what it has not used for longest.
const MOST: usize = 1024;

/// The upstreams of single clients.
#[derive(Debug)]
pub(crate) struct Persons<U> {
    /// What is known.
    known: Mutex<Known<U>>,
    /// The tasks that supervise them.
    supervisors: TaskTracker,
}

/// What is known.
#[derive(Debug)]
struct Known<U> {
    /// Each, and when it was last asked for.
    all: HashMap<Arc<Person>, (Arc<U>, Instant)>,
    /// Those that were given up and may still have connections.
    given_up: Vec<Arc<U>>,
}

impl<U> Persons<U> {
    /// None yet.
    pub(crate) fn new(supervisors: TaskTracker) -> Self {
        let known = Known { all: HashMap::new(), given_up: Vec::new() };
        Self { known: Mutex::new(known), supervisors }
    }

    /// The tasks that supervise them.
    pub(crate) const fn supervisors(&self) -> &TaskTracker {
        &self.supervisors
    }

    /// That of a client, made if there is none.
    pub(crate) fn get(&self, person: &Arc<Person>, make: impl FnOnce() -> Arc<U>) -> Arc<U> {
        let mut known = self.known.lock();
        let now = Instant::now();
        if let Some((upstream, asked)) = known.all.get_mut(person) {
            *asked = now;
            return Arc::clone(upstream);
        }
        if known.all.len() >= MOST {
            let key = |person: &Person| ClientKey::of_client(person.client(), None);
            let held = known.all.iter().map(|(held, (_, asked))| -> Holding<Arc<Person>> {
                (key(held), Some(now - *asked), Arc::clone(held))
            });
            for person in who_makes_room(&key(person), held.collect(), 1) {
                known.give_up(&person);
            }
        }
        let upstream = make();
        known.all.insert(Arc::clone(person), (Arc::clone(&upstream), now));
        upstream
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<U>> {
        let known = self.known.lock();
        let all = known.all.values().map(|(upstream, _)| upstream);
        all.chain(&known.given_up).cloned().collect()
    }

    /// Gives up those of a client, and with `people` those of the people of that entry.
    pub(crate) fn give_up(&self, client: &ClientName, people: bool) {
        let is_theirs = |its: &ClientName| its == client || people && client.covers(its);
        self.known.lock().give_up_where(|person, _| person.client().is_some_and(is_theirs));
    }

    /// Gives up those that nobody has asked for since so long and that may go; with those that were given up before. The
    /// caller ends them.
    pub(crate) fn over(&self, since: Duration, may_go: impl Fn(&Arc<Person>, &U) -> bool) -> Vec<Arc<U>> {
        let mut known = self.known.lock();
        known.give_up_where(|person, (upstream, asked)| asked.elapsed() >= since && may_go(person, upstream));
        std::mem::take(&mut known.given_up)
    }
}

impl<U> Known<U> {
    /// Gives up that of a client.
    fn give_up(&mut self, person: &Arc<Person>) {
        self.given_up.extend(self.all.remove(person).map(|(upstream, _)| upstream));
    }

    /// Gives up all of which this holds.
    fn give_up_where(&mut self, is_over: impl Fn(&Arc<Person>, &(Arc<U>, Instant)) -> bool) {
        let over = self.all.extract_if(|person, held| is_over(person, held));
        self.given_up.extend(over.map(|(_, (upstream, _))| upstream));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A person of this name with this header.
    fn person(client: &str, sent: usize) -> Arc<Person> {
        let sent = [("x-token".to_owned(), sent.to_string())];
        Person::told(Some(ClientName::new(client)), &sent).unwrap()
    }

    #[test]
    fn client_with_ever_new_headers_gives_up_its_own_and_the_number_is_limited() {
        let persons = Persons::new(TaskTracker::new());
        let made =
            |client: &str, sent| persons.get(&person(client, sent), || Arc::new(format!("{client}{sent}")));
        let quiet = made("quiet", 0);
        for sent in 0..MOST + 3 {
            made("loud", sent);
        }
        assert!(Arc::ptr_eq(&quiet, &made("quiet", 0)), "it has one, and keeps it");
        assert_eq!(persons.known.lock().all.len(), MOST);
        let over = persons.over(Duration::ZERO, |_, _| false);
        assert_eq!(
            over.iter().map(|it| it.as_str()).collect::<Vec<_>>(),
            ["loud0", "loud1", "loud2", "loud3"]
        );
        assert!(persons.known.lock().given_up.is_empty());
    }

    #[test]
    fn what_is_used_stays_and_what_a_client_had_goes_with_it() {
        let persons = Persons::new(TaskTracker::new());
        let made = |client: &str| persons.get(&person(client, 0), || Arc::new(client.to_owned()));
        let (ann, ben) = (made("ann"), made("ben"));
        assert!(persons.over(Duration::from_secs(60), |_, _| true).is_empty(), "both have just called");
        assert_eq!(persons.over(Duration::ZERO, |_, it| it == "ann"), [Arc::clone(&ann)]);
        assert!(!Arc::ptr_eq(&ann, &made("ann")), "it was made anew");
        persons.give_up(&ClientName::new("ben"), false);
        assert_eq!(persons.over(Duration::MAX, |_, _| true), [Arc::clone(&ben)]);
        assert_eq!(persons.all().len(), 1);
    }
}
