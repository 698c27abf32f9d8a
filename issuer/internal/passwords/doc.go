// Package passwords keeps password policies: sys/policies/password of the API.
// Engines make passwords by them (package password of the shared module).
//
// # What holds
//
//   - What is kept was read, checked and found possible when it was written; it is
//     read back as it was written.
//   - A change of a policy and the event of its request are one commit (D6). It
//     counts for what is issued from then on; passwords that there are do not
//     change.
//   - A generated password is in the answer and nowhere else.
//
// # Texts of policies
//
// HCL, or JSON of the same meaning, also in base64:
//
//	length = 24
//	rule "charset" {
//	  charset   = "abcdefghijklmnopqrstuvwxyz"
//	  min-chars = 1
//	}
//
//	| fails | then |
//	|---|---|
//	| the text | 400 with the words of stock servers |
//	| the store | the request fails; nothing was changed |
//	| two changes at the same time | one is made anew over the other |
package passwords
