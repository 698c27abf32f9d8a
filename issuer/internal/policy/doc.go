// Package policy decides what a token may do: it reads policies, joins those
// of one token into an [ACL], and answers requests from it. It is pure: no
// store, no clock, no connection.
//
// What holds:
//   - what no rule grants is refused, and so is what cannot be understood: a
//     policy with a key, a capability or a path that would not be enforced is
//     refused when it is written, never ignored later;
//   - [Parse] ends, with a policy or an error, for every text; size and depth
//     are bounded before the parser sees it;
//   - a [Policy] and an [ACL] never change, any number of goroutines use them;
//   - the order of policies is of no consequence;
//   - an allowed request costs no allocation (a List one, for its slash);
//   - a [Decision] names rules, policies and parameters, never a value that was
//     sent. It is for the holder of the token and for the record; the API
//     answers "permission denied" whatever it says.
//
// # Which rule decides
//
// One rule decides a request: that of the most specific pattern which matches
// the path. A pattern without wildcards matches only itself and comes first.
// Of two others the lower is, by the first that tells them apart, the one
//
//  1. whose first wildcard (+ or *) stands earlier,
//  2. that ends in * where the other does not,
//  3. that has more + segments,
//  4. that is shorter,
//  5. that is lexicographically smaller.
//
// + is one whole segment, also an empty one; * ends a pattern and stands for
// any rest, also an empty one. Rules of one pattern, of one policy or several,
// are joined into one:
//
//	capabilities          union; deny takes all others away
//	allowed, denied       union of names and, for each name, of values; [] (any value) wins
//	required              union
//	min/max_wrapping_ttl  the lowest that is given, each for itself
//
// A list asks for everything below a path: its path ends in a slash, and it is
// matched by patterns with and without that slash.
//
// # Parameters
//
// They are looked at where a request reads or writes (read, create, update,
// patch). A required one must be there, in lower case, as handlers read it;
// of the others the case is of no consequence. A request without parameters
// violates nothing else. Then: denied before allowed; [] is any value; in
// denied_parameters "*" is every parameter, in allowed_parameters it is every
// one that is not named. Values are compared with their type ("false" is not
// false, as documentation says: name both), numbers by what they amount to,
// strings with a * at either end as a glob.
//
// Either wrapping bound makes wrapping compulsory.
//
// # Differences from stock servers
//
// Stricter, where they take a text and enforce less than it says:
//   - + inside a segment, * before the end, empty and dot segments, control
//     characters and backslashes in a path are refused: no request can match;
//   - templated paths, mfa_methods, control_group, subscribe_event_types and
//     other keys that are not enforced here are refused;
//   - names twice in an object are refused, in JSON too, and whatever the case
//     of a parameter; so is JSON that goes on after its end. (JSON truth values
//     inside lists are kept: stock servers drop them, which leaves [], any.)
//   - parameter names that begin with a slash (pointers into nested values) or
//     contain a * are refused, and "*" takes no values;
//   - a denied value is also found as an element of a list, and numbers of a
//     policy are compared with numbers of a request (stock servers never find
//     them equal).
//
// As documented, not as their code has it:
//   - a list is decided by the most specific of all rules that match it; their
//     code looks for any rule without the slash first, and so lets a wide rule
//     hide a `deny` on "path/*" from a list of "path";
//   - a parameter value of * alone is a glob of the empty text, any string.
//
// Added: `policy = "list"`, and the JSON form of paths in HCL.
//
// | fails | then |
// |---|---|
// | a text is no policy | an error that begins with "failed to parse policy" and says where; for a 400 |
// | the name is reserved or malformed | an error that says so; for a 400 |
// | the operation is none of these | refused |
package policy
