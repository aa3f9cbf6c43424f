{{- define "jetscan.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "jetscan.image" -}}
{{- .Values.image.repository -}}
{{- with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{- /* What a thing is selected by: (list root part) */ -}}
{{- define "jetscan.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "jetscan.labels" -}}
{{- $root := index . 0 -}}
{{ include "jetscan.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /*
The functions that have a Deployment, with the defaults under what they say: {"all": {name: values}}
Without a database there are none of those that need it. `guests`: code that others bring is hosted there.
*/ -}}
{{- define "jetscan.functions" -}}
{{- $all := dict -}}
{{- $guests := dict -}}
{{- range $name, $own := omit .Values.functions "defaults" -}}
{{- $one := mustMergeOverwrite (deepCopy $.Values.functions.defaults) $own -}}
{{- if has $name (list "gateway" "ingest" "migrate" "nats" "operator" "probe" "provision" "setup" "sources" "test" "worker") -}}
{{- fail (printf "functions.%s: expected another name; it is that of another part" $name) -}}
{{- end -}}
{{- if and $one.enabled $one.joins -}}{{- $_ := set $guests $name $one -}}{{- end -}}
{{- if and $one.enabled (not $one.joins) (or $.Values.database.enabled (not $one.database)) -}}
{{- if not $one.hosts -}}{{- $_ := set $one "hosts" (list $name) -}}{{- end -}}
{{- if and (gt (int $one.partitions) 0) $one.scaling.enabled -}}
{{- if lt (int $one.scaling.min) 1 -}}
{{- fail (printf "functions.%s.scaling.min: expected at least 1: a chain keeps state and hears a clock, found %v" $name $one.scaling.min) -}}
{{- end -}}
{{- if gt (int $one.scaling.max) (int $one.partitions) -}}
{{- fail (printf "functions.%s.scaling.max: expected at most its %v partitions, found %v" $name $one.partitions $one.scaling.max) -}}
{{- end -}}
{{- end -}}
{{- if lt (int $one.scaling.max) (int $one.scaling.min) -}}
{{- fail (printf "functions.%s.scaling.max: expected at least min (%v), found %v" $name $one.scaling.min $one.scaling.max) -}}
{{- end -}}
{{- $_ := set $all $name $one -}}
{{- end -}}
{{- end -}}
{{- range $name, $one := $guests -}}
{{- if not (hasKey $all $one.joins) -}}
{{- fail (printf "functions.%s.joins: expected a Deployment, one of %s, found %s" $name (keys $all | sortAlpha | join ", ") $one.joins) -}}
{{- end -}}
{{- if $one.source -}}{{- $_ := set (get $all $one.joins) "guests" true -}}{{- end -}}
{{- end -}}
{{- dict "all" $all | toJson -}}
{{- end }}

{{- /* The source that values bring: {"mine.py": text} */ -}}
{{- define "jetscan.sources" -}}
{{- $files := dict -}}
{{- range $name, $own := omit .Values.functions "defaults" -}}
{{- if and (dig "source" "" $own) (dig "enabled" true $own) -}}{{- $_ := set $files (printf "%s.py" $name) $own.source -}}{{- end -}}
{{- end -}}
{{- $files | toJson -}}
{{- end }}

{{- define "jetscan.permissions" -}}
{{- .Values.nats.permissions | default (.Files.Get "files/nats-permissions.json") -}}
{{- end }}

{{- define "jetscan.natsSecret" -}}
{{- if and (not .Values.nats.enabled) (not .Values.nats.existingSecret) -}}
{{- fail "nats.existingSecret: expected a Secret with a password by user, where NATS is not ours (nats.enabled=false)" -}}
{{- end -}}
{{- .Values.nats.existingSecret | default (printf "%s-nats-users" (include "jetscan.fullname" .)) -}}
{{- end }}

{{- define "jetscan.natsUrl" -}}
{{- if .Values.nats.enabled -}}
nats://{{ include "jetscan.fullname" . }}-nats:4222
{{- else -}}
{{- required "nats.url: expected the address of NATS, as nats.enabled is false" .Values.nats.url -}}
{{- end -}}
{{- end }}

{{- define "jetscan.natsMonitoring" -}}
{{- if .Values.nats.enabled -}}
{{ include "jetscan.fullname" . }}-nats.{{ .Release.Namespace }}.svc:8222
{{- else -}}
{{- required "nats.monitoring: expected HOST:8222 for KEDA to read the lag from, as nats.enabled is false; or scaling.engine=hpa" .Values.nats.monitoring -}}
{{- end -}}
{{- end }}

{{- /* keda, hpa or none */ -}}
{{- define "jetscan.engine" -}}
{{- if eq .Values.scaling.engine "auto" -}}
{{- ternary "keda" "hpa" (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") -}}
{{- else -}}
{{- .Values.scaling.engine -}}
{{- end -}}
{{- end }}

{{- define "jetscan.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "jetscan.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Spread over nodes and zones: (list root part) */ -}}
{{- define "jetscan.placing" -}}
{{- $root := index . 0 -}}
topologySpreadConstraints:
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "jetscan.selector" $ | nindent 8 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with $root.Values.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- /*
A Pod of the image.
  root part args user    who it is, what it runs, who it is to NATS; no user: it does not go there
  database redis smtp    which secrets it is given
  sources                whether the functions of values are mounted
  env resources ports probes envFrom grace drain restart
*/ -}}
{{- define "jetscan.pod" -}}
{{- $root := .root -}}
{{- $files := include "jetscan.sources" $root | fromJson -}}
metadata:
  labels:
    {{- include "jetscan.labels" (list $root .part) | nindent 4 }}
  annotations:
    {{- if and .sources $files }}
    checksum/sources: {{ $files | toJson | sha256sum }}
    {{- end }}
    checksum/settings: {{ list $root.Values.settings $root.Values.functionSettings | toJson | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  serviceAccountName: {{ .serviceAccount | default (include "jetscan.fullname" $root) }}
  enableServiceLinks: false # else a Service called jetscan becomes JETSCAN_ variables, which are refused
  restartPolicy: {{ .restart | default "Always" }}
  terminationGracePeriodSeconds: {{ .grace | default 30 }}
  securityContext:
    {{- include "jetscan.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets: {{ toJson . }}
  {{- end }}
  {{- include "jetscan.placing" (list $root .part) | nindent 2 }}
  containers:
    - name: {{ .part }}
      image: {{ include "jetscan.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      securityContext:
        {{- include "jetscan.containerSecurity" $root | nindent 8 }}
      env:
        - {name: JETSCAN_HOST, value: 0.0.0.0}
        - {name: JETSCAN_DATA_DIR, value: /data}
        - {name: TMPDIR, value: /tmp}
        {{- if .user }}
        - {name: JETSCAN_NATS_URL, value: {{ include "jetscan.natsUrl" $root | quote }}}
        - {name: JETSCAN_NATS_USER, value: {{ .user }}}
        - {name: JETSCAN_NATS_PASSWORD_FILE, value: /run/secrets/nats/password}
        {{- end }}
        {{- range $name := list "database" "redis" "smtp" }}
        {{- if get $ $name }}
        - {name: JETSCAN_{{ upper $name }}_URL_FILE, value: /run/secrets/{{ $name }}/url}
        {{- end }}
        {{- end }}
        {{- with $root.Values.functionSettings }}
        - {name: JETSCAN_FUNCTIONS, value: {{ toJson . | quote }}}
        {{- end }}
        {{- range $name, $value := $root.Values.settings }}{{- /* toString makes 1e+06 of a million */}}
        - {name: JETSCAN_{{ upper $name }}, value: {{ ternary (toJson $value) (toString $value) (kindIs "float64" $value) | quote }}}
        {{- end }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .envFrom }}
      envFrom:
        - secretRef: {name: {{ . }}}
      {{- end }}
      {{- with .ports }}
      ports: {{ toJson . }}
      {{- end }}
      {{- with .probePort }}
      startupProbe:
        httpGet: {path: /live, port: {{ . }}}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe: # answered by the loop that runs the functions: one that stands is started anew
        httpGet: {path: /live, port: {{ . }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /ready, port: {{ . }}}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 3
      {{- end }}
      {{- with .drainS }}
      lifecycle:
        preStop: {sleep: {seconds: {{ . }}}} # until no proxy sends anybody here
      {{- end }}
      resources: {{ toJson .resources }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: tmp, mountPath: /tmp}
        {{- if .user }}
        - {name: nats, mountPath: /run/secrets/nats, readOnly: true}
        {{- end }}
        {{- range $name := list "database" "redis" "smtp" "auth" "token" }}
        {{- if get $ $name }}
        - {name: {{ $name }}, mountPath: /run/secrets/{{ $name }}, readOnly: true}
        {{- end }}
        {{- end }}
        {{- if .sources }}
        {{- range $file, $_ := $files }}
        - {name: sources, mountPath: /app/functions/{{ $file }}, subPath: {{ $file }}, readOnly: true}
        {{- end }}
        {{- end }}
  volumes:
    - name: data
      emptyDir: {sizeLimit: 1Gi}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- with .user }}
    - name: nats
      secret:
        secretName: {{ include "jetscan.natsSecret" $root }}
        items: [{key: {{ . }}, path: password}]
    {{- end }}
    {{- range $name := list "database" "redis" "smtp" }}
    {{- if get $ $name }}
    - name: {{ $name }}
      secret:
        secretName: {{ (get $root.Values $name).existingSecret }}
        items: [{key: {{ (get $root.Values $name).key }}, path: url}]
    {{- end }}
    {{- end }}
    {{- if .auth }}
    - name: auth
      secret:
        secretName: {{ $root.Values.gateway.existingSecret }}
        items: [{key: {{ $root.Values.gateway.key }}, path: key}]
    {{- end }}
    {{- if .token }}
    - name: token
      secret:
        secretName: {{ $root.Values.probe.existingSecret }}
        items: [{key: {{ $root.Values.probe.key }}, path: token}]
    {{- end }}
    {{- if and .sources $files }}
    - name: sources
      configMap: {name: {{ include "jetscan.fullname" $root }}-sources}
    {{- end }}
{{- end }}
