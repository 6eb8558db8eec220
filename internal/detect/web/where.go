package web

// Place is where a change of a page was made.
type Place struct {
	Where string `json:"where"`
}
