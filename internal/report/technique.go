package report

// techniques names what detectors see, by the IDs and names of MITRE ATT&CK v17 (https://attack.mitre.org).
var techniques = map[string]string{
	"T1036.008": "Masquerading: Masquerade File Type",
	"T1059":     "Command and Scripting Interpreter",
	"T1070":     "Indicator Removal",
	"T1078":     "Valid Accounts",
	"T1189":     "Drive-by Compromise",
	"T1190":     "Exploit Public-Facing Application",
	"T1485":     "Data Destruction",
	"T1486":     "Data Encrypted for Impact",
	"T1489":     "Service Stop",
	"T1490":     "Inhibit System Recovery",
	"T1491":     "Defacement",
	"T1491.001": "Defacement: Internal Defacement",
	"T1491.002": "Defacement: External Defacement",
	"T1505.003": "Server Software Component: Web Shell",
	"T1561":     "Disk Wipe",
	"T1565":     "Data Manipulation",
	"T1565.001": "Data Manipulation: Stored Data Manipulation",
}
