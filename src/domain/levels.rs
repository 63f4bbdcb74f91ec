//! In which order rows are written that point at each other: parents first, and what is circular in two passes.

use serde::{Deserialize, Serialize};

/// A row and the one that it points at, by their places among the rows of a load, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// The row that points.
    pub child: u32,
    /// The row that it points at.
    pub parent: u32,
}

/// Rows by levels; some twenty bytes a row and eight an edge while they are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// The level of each row: one more than the highest of its parents, 0 without any.
    pub of: Vec<u32>,
    /// Edges that close a circle: the child is written without them first, and they are set afterwards.
    pub later: Vec<Edge>,
}

/// The levels of so many rows. The same edges in any order give the same levels.
///
/// # Panics
/// When an edge names a row that is not there.
pub fn levels(rows: u32, mut edges: Vec<Edge>) -> Levels {
    edges.sort_unstable();
    edges.dedup();
    let mut later: Vec<Edge> = edges.iter().copied().filter(|edge| edge.child == edge.parent).collect();
    edges.retain(|edge| edge.child != edge.parent);
    let parents = Neighbours::new(rows, &edges, |edge| (edge.child, edge.parent));
    let children = Neighbours::new(rows, &edges, |edge| (edge.parent, edge.child));
    let mut walk = Walk {
        waits: (0..rows).map(|row| parents.of(row).len() as u32).collect(),
        level: vec![0; rows as usize],
        done: vec![false; rows as usize],
        ready: (0..rows).filter(|row| parents.of(*row).is_empty()).collect(),
    };
    walk.settle(&children);
    let mut on_path: Vec<Option<u32>> = vec![None; rows as usize];
    let mut path: Vec<u32> = Vec::new();
    let mut next = 0;
    loop {
        // Whoever still waits does so for one that waits too: going from child to parent leads into a circle.
        let at = match path.last() {
            Some(last) => *last,
            None => {
                let Some(first) = (next..rows).find(|row| !walk.done[*row as usize]) else { break };
                next = first;
                on_path[first as usize] = Some(0);
                path.push(first);
                first
            }
        };
        let waiting = parents.of(at).iter().copied().find(|parent| !walk.done[*parent as usize]);
        let parent = waiting.expect("a row waits only for rows that are not done");
        let Some(begin) = on_path[parent as usize] else {
            on_path[parent as usize] = Some(path.len() as u32);
            path.push(parent);
            continue;
        };
        let cut = *path[begin as usize..].iter().min().expect("a circle has a row");
        let place = on_path[cut as usize].expect("the circle is on the path");
        let open = parents.of(cut).iter().copied().filter(|parent| !walk.done[*parent as usize]);
        later.extend(open.map(|parent| Edge { child: cut, parent }));
        walk.waits[cut as usize] = 0;
        walk.ready.push(cut);
        walk.settle(&children);
        for row in path.drain(place as usize..) {
            on_path[row as usize] = None;
        }
        while let Some(row) = path.pop_if(|row| walk.done[*row as usize]) {
            on_path[row as usize] = None;
        }
    }
    later.sort_unstable();
    Levels { of: walk.level, later }
}

/// Rows on their way to a level.
struct Walk {
    /// Parents of each row that are not done.
    waits: Vec<u32>,
    level: Vec<u32>,
    done: Vec<bool>,
    ready: Vec<u32>,
}

impl Walk {
    /// Gives a level to every row that waits for none.
    fn settle(&mut self, children: &Neighbours) {
        while let Some(row) = self.ready.pop() {
            self.done[row as usize] = true;
            for child in children.of(row) {
                let at = *child as usize;
                if self.done[at] || self.waits[at] == 0 {
                    // A circle was cut before it: it does not wait for this one any more.
                    continue;
                }
                self.level[at] = self.level[at].max(self.level[row as usize] + 1);
                self.waits[at] -= 1;
                if self.waits[at] == 0 {
                    self.ready.push(*child);
                }
            }
        }
    }
}

/// The neighbours of each row, one behind the other.
struct Neighbours {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Neighbours {
    fn new(rows: u32, edges: &[Edge], of: impl Fn(&Edge) -> (u32, u32)) -> Self {
        let mut starts = vec![0; rows as usize + 1];
        for edge in edges {
            starts[of(edge).0 as usize + 1] += 1;
        }
        for row in 0..rows as usize {
            starts[row + 1] += starts[row];
        }
        let mut free = starts.clone();
        let mut neighbours = vec![0; edges.len()];
        for edge in edges {
            let (row, neighbour) = of(edge);
            neighbours[free[row as usize] as usize] = neighbour;
            free[row as usize] += 1;
        }
        Neighbours { starts, rows: neighbours }
    }

    fn of(&self, row: u32) -> &[u32] {
        &self.rows[self.starts[row as usize] as usize..self.starts[row as usize + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(child: u32, parent: u32) -> Edge {
        Edge { child, parent }
    }

    /// Whether every row comes after its parents, but for the edges that are set later.
    fn assert_parents_first(rows: u32, edges: &[Edge]) -> Levels {
        let found = levels(rows, edges.to_vec());
        let later: std::collections::HashSet<&Edge> = found.later.iter().collect();
        for edge in edges.iter().filter(|edge| !later.contains(edge)) {
            assert!(found.of[edge.child as usize] > found.of[edge.parent as usize], "{edge:?}");
        }
        found
    }

    #[test]
    fn parents_go_first_in_whatever_order_they_stand() {
        // 3 → 1 → 2 → 0, and 4 by itself.
        let found = assert_parents_first(5, &[edge(3, 1), edge(1, 2), edge(2, 0)]);
        assert_eq!(found, Levels { of: vec![0, 2, 1, 3, 0], later: vec![] });
        assert_eq!(levels(0, vec![]), Levels { of: vec![], later: vec![] });
    }

    #[test]
    fn a_circle_is_cut_at_one_row_and_what_hangs_on_it_is_not() {
        // 1 → 2 → 3 → 1 is a circle, 0 → 1 hangs on it, 4 points at itself.
        let found = assert_parents_first(5, &[edge(0, 1), edge(1, 2), edge(2, 3), edge(3, 1), edge(4, 4)]);
        assert_eq!(found.later, [edge(1, 2), edge(4, 4)]);
        assert_eq!(found.of, [1, 0, 2, 1, 0]);
    }

    #[test]
    fn every_pair_that_points_at_each_other_is_cut_once_and_long_chains_take_no_time() {
        // 50,000 pairs on which one chain hangs, whose every row also points into its own pair.
        let pairs = 50_000;
        let mut edges = Vec::new();
        for pair in 0..pairs {
            let (one, other) = (pairs + 2 * pair, pairs + 2 * pair + 1);
            edges.extend([edge(one, other), edge(other, one), edge(pair, one)]);
            if pair + 1 < pairs {
                edges.push(edge(pair, pair + 1));
            }
        }
        let found = assert_parents_first(3 * pairs, &edges);
        assert_eq!(found.later.len(), pairs as usize);
        assert_eq!(found.of[0], pairs);
    }
}
