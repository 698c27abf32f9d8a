package jetstream

import "github.com/curfew-project/curfew/shared/event"

// PublisherMayPublish lists the subjects to which the user of a program that
// publishes must be allowed to publish: issuers and revokers.
func PublisherMayPublish() []string {
	return []string{
		event.SubjectPrefix + ".>", headSubject,
		"$JS.API.INFO", "$JS.API.STREAM.INFO." + StreamName,
		"$JS.API.STREAM.CREATE." + StreamName, "$JS.API.STREAM.UPDATE." + StreamName,
		"$JS.API.STREAM.MSG.GET." + StreamName, // curfew fsck; without it the stream's end is not compared
	}
}

// ConsumerMayPublish lists the same for a program that reads the stream:
// revokers and auditors.
func ConsumerMayPublish() []string {
	return []string{
		"$JS.API.INFO", "$JS.API.STREAM.INFO." + StreamName,
		"$JS.API.CONSUMER.CREATE." + StreamName + ".>", "$JS.API.CONSUMER.INFO." + StreamName + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + StreamName + ".*", "$JS.API.CONSUMER.RESET." + StreamName + ".*",
		"$JS.API.CONSUMER.DELETE." + StreamName + ".*", "$JS.ACK." + StreamName + ".>",
	}
}
