//! Sorting points. Digests are as good as random, which is the worst case of comparing and no case at all here.

use super::NodeIndex;
use super::points::Point;

/// Sorts points in ascending order; those in one place keep their order. A radix sort.
///
/// It takes as much room again, behind the points: where there is capacity for that, nothing is allocated.
pub(super) fn sort(points: &mut Vec<Point>) {
    const DIGITS: u32 = 4;
    let digit = |point: &Point, n: u32| (point.0 >> (8 * n)) as u8 as usize;
    let mut counts = [[0; 256]; DIGITS as usize];
    for point in points.iter() {
        for (n, counts) in (0..).zip(&mut counts) {
            counts[digit(point, n)] += 1;
        }
    }
    let length = points.len();
    points.resize(2 * length, (0, NodeIndex(0)));
    let (mut from, mut to) = points.split_at_mut(length);
    for (n, counts) in (0..).zip(&mut counts) {
        let mut total = 0;
        for count in counts.iter_mut() {
            total += std::mem::replace(count, total);
        }
        for &point in from.iter() {
            let next: &mut usize = &mut counts[digit(&point, n)];
            to[*next] = point;
            *next += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    // After an even number of turns they are where they were.
    points.truncate(length);
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// The oracle is the standard library's stable sort.
    #[test]
    fn points_are_sorted_as_a_stable_sort_does_it() {
        let mut rng = SmallRng::seed_from_u64(20);
        for size in [0, 1, 2, 960, if cfg!(miri) { 1_000 } else { 50_000 }] {
            for places in [u32::MAX, 50, 1 << 20] {
                for start in [0, u32::MAX - places] {
                    let place = |rng: &mut SmallRng| start + rng.random_range(0..places);
                    let mut points: Vec<Point> =
                        (0..size).map(|node| (place(&mut rng), NodeIndex(node))).collect();
                    let mut expected = points.clone();
                    expected.sort_by_key(|point| point.0);
                    sort(&mut points);
                    assert!(points == expected, "{size} points in {places} places from {start} on");
                }
            }
        }
    }
}
