// Package operator is sys/installation: whether the store is suspended (A7),
// whether stray sweeps act or only report and why (B3), what the last recoveries
// brought back and could not, which processes run, with their versions and clocks,
// and the word of a person who has looked.
//
// What holds:
//   - reading changes nothing;
//   - a confirmation and the event of its request are one commit (D6); one where
//     there is nothing to confirm changes nothing and says so;
//   - names of accounts are shown, never more of them.
//
// What health tells of it is sampled each second beside all requests ([Watch]): who
// asks about health never waits for the store.
//
// | fails | then |
// |---|---|
// | the store | the request fails; nothing was confirmed. After five seconds health says 503 |
// | the commit meets another change | made anew; 503 after ten times |
// | an engine cannot name its connections | the request fails: a report that leaves some out would mislead |
package operator
