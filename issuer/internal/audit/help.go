package audit

import "github.com/curfew-project/curfew/shared/engine"

// Help explains the paths of audit devices.
func Help() []engine.Help {
	return []engine.Help{
		{
			Path:     "sys/audit",
			Synopsis: "Read which audit devices are enabled.",
			Text: "Of each: type, description and options. A device that cannot write at the moment is named in a warning; " +
				"what it lacks is written once it can. Needs sudo.",
		},
		{
			Path:     "sys/audit/…",
			Synopsis: "Enable, read and disable the audit device at a path.",
			Text: "Enable with type=file and options: file_path, below a directory that the configuration allows; mode, " +
				"without the right to execute; hmac_accessor; elide_list_responses. The answer comes when an auditor has opened " +
				"the file, or says why it cannot. Disabling leaves the file. Needs sudo.",
		},
		{
			Path:     "sys/audit-hash/…",
			Synopsis: "The text that stands for a value in the lines of an audit device.",
			Text:     "input is the value; the answer's hash is what to search the file for.",
		},
	}
}
