package repo

// WithCacheMin makes a repository large from so many bytes of index files.
func (o Options) WithCacheMin(size int64) Options {
	o.cacheMin = size
	return o
}
