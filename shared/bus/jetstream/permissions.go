package jetstream

import "github.com/curfew-project/curfew/shared/event"

// lastEvent is asked for the last event of the stream.
const lastEvent = "$JS.API.STREAM.MSG.GET." + StreamName

// PublisherMayPublish lists the subjects to which the user of a program that
// publishes must be allowed to publish: issuers and revokers.
func PublisherMayPublish() []string {
	return []string{
		event.SubjectPrefix + ".>", headSubject,
		"$JS.API.INFO", "$JS.API.STREAM.INFO." + StreamName,
		"$JS.API.STREAM.CREATE." + StreamName, "$JS.API.STREAM.UPDATE." + StreamName,
		lastEvent, // curfew fsck; without it the stream's end is not compared
	}
}

// ConsumerMayPublish lists the same for a program that reads the stream:
// revokers and auditors.
func ConsumerMayPublish() []string {
	return []string{
		"$JS.API.INFO", "$JS.API.STREAM.INFO." + StreamName,
		lastEvent, // without it an auditor does not see that the stream has more than store and ledger (A7)
		"$JS.API.CONSUMER.CREATE." + StreamName + ".>", "$JS.API.CONSUMER.INFO." + StreamName + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + StreamName + ".*", "$JS.API.CONSUMER.RESET." + StreamName + ".*",
		"$JS.API.CONSUMER.DELETE." + StreamName + ".*", "$JS.ACK." + StreamName + ".>",
	}
}
