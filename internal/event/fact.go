package event

import "time"

// The kinds, one for each fact below.
const (
	KindSnapshotTaken         Kind = "snapshot.taken"
	KindWALGap                Kind = "wal.gap"
	KindCopyVerified          Kind = "copy.verified"
	KindDrillFinished         Kind = "drill.finished"
	KindSignalRaised          Kind = "signal.raised"
	KindIncidentOpened        Kind = "incident.opened"
	KindIncidentClassified    Kind = "incident.classified"
	KindIncidentClosed        Kind = "incident.closed"
	KindServiceContained      Kind = "service.contained"
	KindServiceReopened       Kind = "service.reopened"
	KindEvidencePreserved     Kind = "evidence.preserved"
	KindInvestigationFinished Kind = "investigation.finished"
	KindRecoveryPlanned       Kind = "recovery.planned"
	KindRecoveryStepDone      Kind = "recovery.step"
	KindProofFinished         Kind = "proof.finished"
	KindNoticePublished       Kind = "notice.published"
	KindProcessFrozen         Kind = "process.frozen"
	KindProcessThawed         Kind = "process.thawed"
	KindPagesApproved         Kind = "pages.approved"
)

// SnapshotTaken: an asset was captured to a repository.
type SnapshotTaken struct {
	Repository string  `json:"repository"` // its name in the estate
	Snapshot   string  `json:"snapshot"`   // full ID
	Files      int64   `json:"files"`
	Bytes      int64   `json:"bytes"` // plain bytes the snapshot refers to
	Added      int64   `json:"added"` // stored bytes the repository grew by
	Seconds    float64 `json:"seconds"`
	Unreadable int     `json:"unreadable,omitempty"` // source files that could not be read: they are missing
}

// WALGap: the server no longer had WAL of a PostgreSQL cluster that was not captured. The states at From and at To can be recovered,
// and all before and after; between them, none.
type WALGap struct {
	From    time.Time `json:"from"` // zero: nothing was captured before
	To      time.Time `json:"to"`
	FromLSN string    `json:"from_lsn,omitempty"`
	ToLSN   string    `json:"to_lsn"`
	Reason  string    `json:"reason"`
}

// CopyVerified: a site pulled a repository's files and compared each with the SHA-256 in its name.
type CopyVerified struct {
	Repository string   `json:"repository"`
	Files      int64    `json:"files"` // held and verified
	Bytes      int64    `json:"bytes"`
	NewFiles   int64    `json:"new_files"` // of these, fetched in this run
	NewBytes   int64    `json:"new_bytes"`
	Damaged    []string `json:"damaged,omitempty"` // names of files whose bytes are not those of their name
	Seconds    float64  `json:"seconds"`
}

// ProbeResult: a service was asked a question.
type ProbeResult struct {
	Probe   string  `json:"probe"`
	OK      bool    `json:"ok"`
	Detail  string  `json:"detail,omitempty"` // what was wrong with the answer
	Seconds float64 `json:"seconds"`
}

// DrillFinished: a service was restored to a sandbox, started there and asked its probes.
type DrillFinished struct {
	Passed    bool          `json:"passed"`
	Reason    string        `json:"reason,omitempty"` // why not
	Copy      string        `json:"copy"`             // the site whose copy was restored
	Snapshots []string      `json:"snapshots"`        // full IDs
	Files     int64         `json:"files"`
	Bytes     int64         `json:"bytes"`
	RPO       float64       `json:"rpo_seconds"` // age of the oldest restored state when the drill began
	RTO       float64       `json:"rto_seconds"` // from the drill's start to the last probe's right answer
	Probes    []ProbeResult `json:"probes"`
	// Structure is of each PostgreSQL cluster, examined once the service had been asked and stopped: no part of RTO.
	Structure []StructureCheck `json:"structure,omitempty"`
}

// StructureCheck: a PostgreSQL cluster was read whole and its structure compared with what it must be, by the server's own means.
type StructureCheck struct {
	Asset     string `json:"asset"`
	Databases int64  `json:"databases"`
	// Of what the databases hold beside the system's own catalogs, which are checked alike: tables (materialized views
	// and partitions too), the rows in them, and B-tree indexes.
	Tables  int64 `json:"tables"`
	Rows    int64 `json:"rows"`
	Indexes int64 `json:"indexes"`
	Bytes   int64 `json:"bytes"` // of all that was checked, as it stands on the disk
	// Checksums says whether the cluster has data checksums; they were all compared then.
	Checksums bool     `json:"checksums"`
	Unchecked []string `json:"unchecked,omitempty"` // what could not be checked, and why; at most MaxStructures
	Damaged   []string `json:"damaged,omitempty"`   // what is wrong where; at most MaxStructures
	DamagedN  int      `json:"damaged_count,omitempty"`
	Seconds   float64  `json:"seconds"`
}

// MaxStructures bounds the lists in a StructureCheck.
const MaxStructures = 20

// Signal is one observation that something may be wrong. Detectors make them from what they saw alone.
type Signal struct {
	Kind      string         `json:"kind"`      // such as "file.encrypted", "page.defaced"
	Technique string         `json:"technique"` // MITRE ATT&CK (v17) technique ID
	Time      time.Time      `json:"time"`      // when it was noticed, UTC
	Service   string         `json:"service"`
	Asset     string         `json:"asset,omitempty"`
	Subject   string         `json:"subject"`  // what it is about: a directory, a URL, a table
	Strength  float64        `json:"strength"` // 0 to 1: how surely no benign cause explains it
	Evidence  map[string]any `json:"evidence"` // the figures that led to it
	Touched   []string       `json:"touched"`  // paths, URLs or tables; at most MaxTouched
	Count     int            `json:"count"`    // how many were touched
}

// MaxTouched bounds the list in a Signal; Count tells how many there were.
const MaxTouched = 1000

// SignalRaised: a detector saw something.
type SignalRaised struct {
	Signal
}

// IncidentOpened: signals that belong together were noticed.
type IncidentOpened struct {
	Title    string   `json:"title"`
	Services []string `json:"services"` // hit
	Signals  int      `json:"signals"`
}

// IncidentClassified: a person or a rule said what the incident is.
type IncidentClassified struct {
	Class      string   `json:"class"` // "attack" or "fault"
	Reason     string   `json:"reason"`
	Techniques []string `json:"techniques"` // ATT&CK IDs
}

// IncidentClosed: services are back, proven, and the public told.
type IncidentClosed struct {
	Summary string `json:"summary"`
}

// ServiceContained: a service was shut, reversibly.
type ServiceContained struct {
	Actions []string `json:"actions"` // what was done, in order, each with its reverse
	Reason  string   `json:"reason"`  // hit itself, or needs a service that was
	Seconds float64  `json:"seconds"`
}

// ServiceReopened: a contained service answers its probes again.
type ServiceReopened struct {
	Probes  []ProbeResult `json:"probes"`
	Outage  float64       `json:"outage_seconds"` // from containment
	Seconds float64       `json:"seconds"`
}

// EvidencePreserved: files the attacker left, or logs, were put aside.
type EvidencePreserved struct {
	Directory string   `json:"directory"`
	Files     []string `json:"files"` // at most MaxTouched, path and SHA-256
	Count     int      `json:"count"`
}

// CleanPoint is the newest moment of an asset that shows no damage.
type CleanPoint struct {
	Service  string    `json:"service"`
	Asset    string    `json:"asset"`
	Snapshot string    `json:"snapshot,omitempty"` // full ID: for file trees, the newest clean snapshot; for PostgreSQL, the base
	Time     time.Time `json:"time"`
	XID      uint32    `json:"xid,omitempty"` // PostgreSQL: the first bad transaction
	LSN      string    `json:"lsn,omitempty"` // PostgreSQL: where it committed
}

// Request is one line of an access log that matters.
type Request struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"` // client address
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Status int       `json:"status"`
	Log    string    `json:"log"` // file and line, "path:17"
}

// InvestigationFinished: what is known of the way in and of what was touched.
type InvestigationFinished struct {
	CleanPoints []CleanPoint `json:"clean_points"`
	Damaged     []string     `json:"damaged"` // at most MaxTouched
	DamagedN    int          `json:"damaged_count"`
	Added       []string     `json:"added"` // files that the attacker brought, at most MaxTouched
	AddedN      int          `json:"added_count"`
	Source      string       `json:"source,omitempty"` // most likely source address; empty: not known
	Entry       *Request     `json:"entry,omitempty"`  // the request that brought the shell in; nil: not found
	Related     []Request    `json:"related"`          // other requests from Source, at most MaxTouched
}

// RecoveryPlanned: a plan was made and approved.
type RecoveryPlanned struct {
	Steps    []string `json:"steps"`
	Copy     string   `json:"copy"` // the site it is brought back from
	Approver string   `json:"approver"`
}

// RecoveryStepDone: one step of the plan ended.
type RecoveryStepDone struct {
	Step        string  `json:"step"`
	OK          bool    `json:"ok"`
	Error       string  `json:"error,omitempty"`
	Files       int64   `json:"files,omitempty"` // rewritten
	Bytes       int64   `json:"bytes,omitempty"` // rewritten
	Quarantined int64   `json:"quarantined,omitempty"`
	Seconds     float64 `json:"seconds"`
}

// ProofFinished: what was brought back was compared with what should be there.
type ProofFinished struct {
	OK             bool          `json:"ok"`
	Reason         string        `json:"reason,omitempty"`
	FilesCompared  int64         `json:"files_compared"`
	FilesDamaged   int64         `json:"files_damaged"` // by the attack
	FilesLost      int64         `json:"files_lost"`    // not as they were, after recovery
	BytesLost      int64         `json:"bytes_lost"`
	RowsCompared   int64         `json:"rows_compared"`
	RowsLost       int64         `json:"rows_lost"`    // committed, and gone
	SecondsLost    float64       `json:"seconds_lost"` // from the last row kept to the last row committed before containment
	BytesRewritten int64         `json:"bytes_rewritten"`
	FailedProbes   int64         `json:"failed_probes"`
	Probes         []ProbeResult `json:"probes"`
}

// PagesApproved: somebody took what a service's pages are for their approved release.
type PagesApproved struct {
	Approver string `json:"approver"`
	Release  string `json:"release"` // SHA-256 of the release that was kept, hex
	Pages    int    `json:"pages"`
	Scripts  int    `json:"scripts"`            // in them and of their own origins, each once
	Renderer string `json:"renderer,omitempty"` // the browser that showed them; "" if none did
}

// NoticePublished: the public was told.
type NoticePublished struct {
	Stage string `json:"stage"` // "investigating", "identified", "resolved"
	Title string `json:"title"`
	Text  string `json:"text"`
}

// ProcessFrozen: a process that was damaging files was stopped where it stood, with all that works with it. It is neither ended nor
// has it lost anything: it goes on once it is thawed.
type ProcessFrozen struct {
	PID        int    `json:"pid"`
	Executable string `json:"executable,omitempty"`
	User       string `json:"user,omitempty"`
	Processes  int    `json:"processes"` // how many were frozen, it included
	Way        string `json:"way"`       // "cgroup", "cgroup v1" or "SIGSTOP"
	Reason     string `json:"reason"`
}

// ProcessThawed: a frozen process was let go on.
type ProcessThawed struct {
	PID        int    `json:"pid"`
	Executable string `json:"executable,omitempty"`
	Processes  int    `json:"processes"`
}

func (SnapshotTaken) Kind() Kind         { return KindSnapshotTaken }
func (WALGap) Kind() Kind                { return KindWALGap }
func (CopyVerified) Kind() Kind          { return KindCopyVerified }
func (DrillFinished) Kind() Kind         { return KindDrillFinished }
func (SignalRaised) Kind() Kind          { return KindSignalRaised }
func (IncidentOpened) Kind() Kind        { return KindIncidentOpened }
func (IncidentClassified) Kind() Kind    { return KindIncidentClassified }
func (IncidentClosed) Kind() Kind        { return KindIncidentClosed }
func (ServiceContained) Kind() Kind      { return KindServiceContained }
func (ServiceReopened) Kind() Kind       { return KindServiceReopened }
func (EvidencePreserved) Kind() Kind     { return KindEvidencePreserved }
func (InvestigationFinished) Kind() Kind { return KindInvestigationFinished }
func (RecoveryPlanned) Kind() Kind       { return KindRecoveryPlanned }
func (RecoveryStepDone) Kind() Kind      { return KindRecoveryStepDone }
func (ProofFinished) Kind() Kind         { return KindProofFinished }
func (NoticePublished) Kind() Kind       { return KindNoticePublished }
func (ProcessFrozen) Kind() Kind         { return KindProcessFrozen }
func (ProcessThawed) Kind() Kind         { return KindProcessThawed }
func (PagesApproved) Kind() Kind         { return KindPagesApproved }
